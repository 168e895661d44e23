// Models that the page holds as rows of 16-bit numbers: it mixes them, and runs their dense layers.
(function (data) {
  const { chord, classes, layers } = data;
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const halves = (text) => Float32Array.from(new Uint16Array(bytes(text).buffer), half);
  const rows = data.rows.map(halves), mixed = new Float64Array(rows[0].length);

  // What IEEE 754 means by 16 bits.
  function half(bits) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction;
    return bits >> 15 ? -size : size;
  }

  // The model at a point of the plane through both ends and a path's own control point. All share
  // one array: ask a model before you make the next.
  function model([x, y], { corner: [foot, height], row }) {
    const c = y / height, b = (x - c * foot) / chord, a = 1 - b - c;
    const [first, last, bend] = [rows[0], rows[1], rows[row]];
    for (let i = 0; i < mixed.length; i++) mixed[i] = a * first[i] + b * last[i] + c * bend[i];
    return mixed;
  }

  // Inputs as the models want them, with room for a multiple of four.
  function inputs(stored, n) {
    const size = stored.length / n, x = new Float64Array(4 * Math.ceil(n / 4) * size);
    stored.forEach((v, i) => (x[i] = v * data.slope[i % size] + data.offset[i % size]));
    return x;
  }

  // Two units of four examples at a time, as each number that is read then serves several products;
  // and in double precision, which the language computes in.
  function dense(row, start, [wide, out, relu], x, n) {
    const y = new Float64Array(4 * Math.ceil(n / 4) * out), low = relu ? 0 : -Infinity;
    for (let i = 0; i < n; i += 4)
      for (let one = 0; one < out; one += 2) {
        const two = Math.min(one + 1, out - 1), biases = start + wide * out;
        let a = row[biases + one], b = a, c = a, d = a;
        let e = row[biases + two], f = e, g = e, h = e;
        let v = start + one * wide, w = start + two * wide, p = i * wide;
        for (const end = p + wide; p < end; p++, v++, w++) {
          const s = row[v], t = row[w];
          const k = x[p], l = x[p + wide], m = x[p + 2 * wide], o = x[p + 3 * wide];
          a += s * k;
          b += s * l;
          c += s * m;
          d += s * o;
          e += t * k;
          f += t * l;
          g += t * m;
          h += t * o;
        }
        const at = i * out + one, to = i * out + two;
        y[at] = Math.max(a, low);
        y[at + out] = Math.max(b, low);
        y[at + 2 * out] = Math.max(c, low);
        y[at + 3 * out] = Math.max(d, low);
        y[to] = Math.max(e, low);
        y[to + out] = Math.max(f, low);
        y[to + 2 * out] = Math.max(g, low);
        y[to + 3 * out] = Math.max(h, low);
      }
    return y;
  }

  function logits(row, x, n) {
    let start = 0;
    for (const layer of layers) {
      x = dense(row, start, layer, x, n);
      start += (layer[0] + 1) * layer[1];
    }
    return x;
  }

  // Log-probabilities of each of n examples.
  function answers(row, x, n) {
    const z = logits(row, x, n);
    return Array.from({ length: n }, (_, i) => {
      const own = z.subarray(i * classes, (i + 1) * classes), most = Math.max(...own);
      const total = most + Math.log(own.reduce((sum, v) => sum + Math.exp(v - most), 0));
      return own.map((v) => v - total);
    });
  }

  // Mean cross-entropy, and the share of labels that are predicted, of the first ones of a split.
  function measured(row, { x, labels }, most = Infinity) {
    const n = Math.min(labels.length, most);
    let loss = 0, right = 0;
    answers(row, x, n).forEach((own, i) => {
      loss -= own[labels[i]];
      right += own.indexOf(Math.max(...own)) === labels[i];
    });
    return { loss: loss / n, accuracy: right / n };
  }

  const splits = Object.fromEntries(Object.entries(data.splits).map(([name, { x, labels }]) =>
    [name, { labels, stored: halves(x), x: inputs(halves(x), labels.length) }]));
  return { model, inputs, logits, answers, measured, splits };
})
