// Menus for two models and a curve between them, a slider over t, and all metrics of that curve.
(async function (root, packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(unpacked).json();
  const [from, to, kind] = root.querySelectorAll("select");
  const slider = root.querySelector("input[type=range]");
  const W = data.width, H = 160, LEFT = 48, RIGHT = W - 8, TOP = 20, BOTTOM = H - 24;
  const choices = {};
  // A path is offered from its other end too, unless one begins there.
  for (const back of [false, true])
    for (const [key, path] of Object.entries(data.paths)) {
      const [a, b, curve] = key.split("|");
      const [one, other] = back ? [b, a] : [a, b];
      ((choices[one] ??= {})[other] ??= {})[curve] ??= { path, back };
    }

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name)));
    select.value = names.includes(before) ? before : names[0];
  }

  // A figure with a title, numbers along its y axis, and what `body` draws.
  function figure(title, ticks, y, body, text, caption) {
    // As many decimals as the whole axis needs, so that its foot is 0 and not 0.0078.
    const range = Math.max(...ticks) - Math.min(...ticks) || 1;
    const digits = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(range))));
    const numbers = ticks.map((v) =>
      `<text x="${LEFT - 5}" y="${+y(v) + 4}" text-anchor="end">${+v.toFixed(digits)}</text>`);
    return `<figure><div class="mcu-panel"><svg viewBox="0 0 ${W} ${H}" class="mcu-figure" role="img"
      font-size="12" fill="currentColor" aria-label="${title}${text}"><text y="11"
      class="mcu-title">${title}</text>${numbers.join("")}${body}</svg></div>
      <figcaption>${caption}</figcaption></figure>`;
  }

  const height = (low, high) => (v) =>
    (TOP + (BOTTOM - TOP) * (1 - (v - low) / (high - low))).toFixed(1);

  // Curves with their bands, if they have any, a mark at t, and the numbers there.
  function lines(ts, k, title, curves) {
    // Without a number where all seeds diverged: there is nothing to draw then.
    const drawn = curves.filter(({ mean }) => !mean.includes(null));
    const lost = curves.filter((own) => !drawn.includes(own)).map(({ name }) => `${name} diverged`);
    const edges = ({ mean, sd }) =>
      [-1, 1].map((sign) => mean.map((m, i) => m + sign * (sd?.[i] ?? 0)));
    const values = drawn.flatMap((own) => edges(own).flat());
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 0];
    if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
    const x = (i) => (LEFT + (RIGHT - LEFT) * ts[i]).toFixed(1), y = height(low, high);
    const points = (values) => values.map((v, i) => `${x(i)} ${y(v)}`);
    let svg = "";
    for (const i of [0, ts.length - 1])
      svg += `<text x="${x(i)}" y="${H - 6}" text-anchor="middle">${ts[i]}</text>`;
    svg += `<path d="M${LEFT} ${TOP}V${BOTTOM}H${RIGHT}" fill="none" stroke="currentColor"
      opacity=".5"/>`;
    svg += `<path d="M${x(k)} ${TOP}V${BOTTOM}" stroke="currentColor" opacity=".4"/>`;
    for (const own of drawn) {
      const [under, above] = edges(own).map(points);
      const band = above.concat(under.reverse()).join("L");
      // A single seed has no standard deviation.
      if (own.sd && !own.sd.includes(null))
        svg += `<path d="M${band}Z" fill="${own.colour}" opacity=".15"/>`;
      svg += `<path d="M${points(own.mean).join("L")}" fill="none" stroke="${own.colour}"
        stroke-width="2.2"/>`;
      svg += `<circle cx="${x(k)}" cy="${y(own.mean[k])}" r="4" fill="${own.colour}"/>`;
    }
    const round = (v) => +v.toPrecision(4);
    const text = drawn.map(({ name, mean }) =>
      `${name} from ${round(mean[0])} at t=0 to ${round(mean.at(-1))} at t=1, ` +
        `between ${round(Math.min(...mean))} and ${round(Math.max(...mean))}`);
    const plus = (sd) => (sd == null ? "" : ` ± ${sd.toFixed(3)}`);
    const now = drawn.map(({ name, mean, sd }) => `${name} ${mean[k].toFixed(3)}${plus(sd?.[k])}`);
    return figure(title, [low, (low + high) / 2, high], y, svg,
      ` along t: ${text.concat(lost).join("; ")}`, now.concat(lost).join("<br>"));
  }

  function show() {
    fill(to, Object.keys(choices[from.value]));
    fill(kind, Object.keys(choices[from.value][to.value]));
    const { path, back } = choices[from.value][to.value][kind.value];
    const along = (values) => (back ? values.toReversed() : values);
    const ts = along(data.ts).map((t) => (back ? +(1 - t).toPrecision(4) : t)), k = +slider.value;
    slider.setAttribute("aria-valuetext", `t = ${ts[k]}`);
    root.querySelector("output").textContent = ts[k];
    root.querySelector("[aria-live]").textContent = `t = ${ts[k]}. ${path.verdict}`;
    const panels = data.metrics.map(({ name, label, splits }) => lines(ts, k, label, splits.map((split) => {
      const [mean, sd] = path.values[`${name}|${split}`].map(along);
      return { name: split, colour: data.colours[split], mean, sd };
    })));
    root.querySelector(".mcu-panels").innerHTML = panels.join("");
  }

  slider.max = data.ts.length - 1;
  slider.value = Math.floor(slider.max / 2);
  fill(from, Object.keys(choices));
  // Captured, as an event that a script makes need not bubble.
  root.addEventListener("input", show, true);
  show();
})
