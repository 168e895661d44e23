// Draws one image along one path: what is predicted at t, and three measures along t.
(function (root, data) {
  const [from, to, kind] = root.querySelectorAll("select");
  const slider = root.querySelector("input[type=range]");
  const faces = [...root.querySelectorAll("input[type=radio]")];
  const panels = root.querySelector(".mcu-panels");
  const portrait = root.querySelector(".mcu-chosen img");
  const say = root.querySelector("[aria-live]");
  const n = faces.length, T = data.ts.length, C = data.classes;
  const W = 200, H = 150, LEFT = 32, BOTTOM = 22, TOP = 20;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const words = (text) => new Uint16Array(bytes(text).buffer);
  const pairs = {}, unpacked = {};
  for (const key of Object.keys(data.paths)) {
    const [a, b, curve] = key.split("|");
    for (const [one, other] of [[a, b], [b, a]]) {
      const kinds = (pairs[one] ??= {})[other] ??= [];
      if (!kinds.includes(curve)) kinds.push(curve);
    }
  }

  // Numbers of the chosen path in the chosen direction: at(k) is the place of t in the store.
  function path() {
    const there = `${from.value}|${to.value}|${kind.value}`;
    const back = `${to.value}|${from.value}|${kind.value}`;
    const key = there in data.paths ? there : back;
    const own = (unpacked[key] ??= data.paths[key].map((text, i) => (i ? words : bytes)(text)));
    return { p: own[0], loss: own[1], score: own[2], at: key === there ? (k) => k : (k) => T - 1 - k };
  }

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name)));
    select.value = names.includes(before) ? before : names[0];
  }

  function bars(p, label, truth) {
    const wide = (W - LEFT) / C, low = H - BOTTOM, high = H - BOTTOM - TOP;
    let svg = `<text x="2" y="11">predicted probability</text>`;
    for (const v of [0, 0.5, 1])
      svg += `<text x="${LEFT - 5}" y="${low - v * high + 4}" text-anchor="end">${v}</text>`;
    p.forEach((v, c) => {
      const colour = c === label ? data.colours.forget : c === truth ? data.colours.test : "currentColor";
      const x = LEFT + c * wide;
      svg += `<rect x="${x + 2}" y="${low - v * high}" width="${wide - 4}" height="${v * high}" fill="${colour}"/>`;
      svg += `<text x="${x + wide / 2}" y="${H - 8}" text-anchor="middle">${c}</text>`;
    });
    svg += `<path d="M${LEFT} ${low}H${W}" stroke="currentColor"/>`;
    const text = p.map((v, c) => `${c}: ${v.toFixed(2)}`).join(", ");
    return figure(svg, `predicted probability of each class: ${text}`,
      label === truth ? `orange: class ${label}, its label and what it is`
        : `orange: its label ${label}; green: what it is, ${truth}`);
  }

  function figure(svg, text, caption) {
    return `<figure><svg viewBox="0 0 ${W} ${H}" role="img" font-size="11" fill="currentColor"
      aria-label="${text}">${svg}</svg><figcaption>${caption}</figcaption></figure>`;
  }

  function lines(title, own, mean, top, k, unit) {
    const x = (i) => LEFT + (W - LEFT - 8) * data.ts[i];
    const y = (v) => TOP + (H - TOP - BOTTOM) * (1 - v / top);
    const draw = (values) => values.map((v, i) => `${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("L");
    let svg = `<text x="2" y="11">${title}</text>`;
    for (const v of [0, top / 2, top])
      svg += `<text x="${LEFT - 5}" y="${y(v) + 4}" text-anchor="end">${+v.toPrecision(2)}</text>`;
    for (const i of [0, T - 1])
      svg += `<text x="${x(i)}" y="${H - 6}" text-anchor="middle">${data.ts[i]}</text>`;
    svg += `<path d="M${LEFT} ${TOP}V${H - BOTTOM}H${W - 8}" fill="none" stroke="currentColor"/>`;
    svg += `<path d="M${draw(mean)}" fill="none" stroke="currentColor" stroke-dasharray="4 3"/>`;
    svg += `<path d="M${draw(own)}" fill="none" stroke="${data.colours.forget}" stroke-width="1.8"/>`;
    svg += `<path d="M${x(k)} ${TOP}V${H - BOTTOM}" stroke="currentColor" opacity=".4"/>`;
    svg += `<circle cx="${x(k)}" cy="${y(own[k])}" r="4" fill="${data.colours.forget}"/>`;
    const round = (v) => +v.toPrecision(3);
    const text = `${title} along t: this image from ${round(own[0])} at t=0 to ${round(own.at(-1))} at t=1, ` +
      `between ${round(Math.min(...own))} and ${round(Math.max(...own))}; ` +
      `mean of all from ${round(mean[0])} to ${round(mean.at(-1))}`;
    return figure(svg, text, `this image ${round(own[k])}${unit}; mean of all (dashed) ${round(mean[k])}${unit}`);
  }

  function draw() {
    const { p, loss, score, at } = path();
    const j = faces.findIndex((face) => face.checked), k = +slider.value;
    const label = data.labels[j], truth = data.truth[j];
    const each = [...data.ts.keys()];
    const along = (values, unit) => each.map((i) => values[at(i) * n + j] / unit);
    const mean = (values, unit) => each.map((i) =>
      values.subarray(at(i) * n, (at(i) + 1) * n).reduce((sum, v) => sum + v, 0) / n / unit);
    const now = Array.from(p.subarray((at(k) * n + j) * C, (at(k) * n + j + 1) * C), (v) => v / 255);
    const best = now.indexOf(Math.max(...now));
    const high = Math.max(...along(loss, 1000), ...mean(loss, 1000), 0.1);
    panels.innerHTML = bars(now, label, truth) +
      lines("loss (nats)", along(loss, 1000), mean(loss, 1000), high, k, " nats") +
      lines("membership score", along(score, 65535), mean(score, 65535), 1, k, "");
    portrait.src = faces[j].nextElementSibling.src;
    slider.setAttribute("aria-valuetext", `t = ${data.ts[k]}`);
    say.textContent = `Image ${j + 1} is a ${truth}, labelled ${label}. At t = ${data.ts[k]} the model ` +
      `predicts ${best} with ${Math.round(100 * now[best])}%${best === label ? ", the label it was to forget" : ""}.`;
  }

  function choose() {
    fill(to, Object.keys(pairs[from.value]));
    fill(kind, pairs[from.value][to.value]);
    draw();
  }

  slider.max = T - 1;
  slider.value = Math.floor(T / 2);
  fill(from, Object.keys(pairs));
  from.onchange = to.onchange = kind.onchange = choose;
  slider.oninput = draw;
  for (const face of faces) face.onchange = draw;
  choose();
})
