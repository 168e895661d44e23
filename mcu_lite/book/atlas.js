// Draws one curve of the atlas: two drop-downs, the kind of curve, a slider over t, all metrics.
(async function (root, packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(unpacked).json();
  const [from, to, kind] = root.querySelectorAll("select");
  const slider = root.querySelector("input");
  const panels = root.querySelector(".mcu-panels");
  const say = root.querySelector("[aria-live]");
  const W = 260, H = 170, LEFT = 56, BOTTOM = 24, TOP = 20;
  const pairs = {};
  for (const key of Object.keys(data.curves)) {
    const [a, b, curve] = key.split("|");
    ((pairs[a] ??= {})[b] ??= []).push(curve);
  }

  function fill(select, names) {
    const before = select.value;
    select.replaceChildren(...names.map((name) => new Option(name)));
    select.value = names.includes(before) ? before : names[0];
  }

  function panel(metric, all, i) {
    // Without a number where all seeds diverged: there is nothing to draw then.
    const lines = all.filter(({ mean }) => !mean.includes(null));
    const lost = all.filter((line) => !lines.includes(line)).map(({ split }) => `${split} diverged`);
    const values = lines.flatMap(({ mean, sd }) => mean.flatMap((m, k) => [m - sd[k], m + sd[k]]));
    let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 0];
    if (high - low < 1e-9) [low, high] = [low - 0.5, high + 0.5];
    const x = (k) => LEFT + ((W - LEFT - 8) * data.ts[k]).toFixed(1) * 1;
    const y = (v) => (TOP + (H - TOP - BOTTOM) * (1 - (v - low) / (high - low))).toFixed(1);
    const path = (v) => v.map((m, k) => `${x(k)} ${y(m)}`).join("L");
    let svg = `<text x="${LEFT}" y="12">${metric.label}</text>`;
    for (const v of [low, (low + high) / 2, high])
      svg += `<text x="${LEFT - 5}" y="${+y(v) + 4}" text-anchor="end">${+v.toPrecision(2)}</text>`;
    for (const k of [0, data.ts.length - 1])
      svg += `<text x="${x(k)}" y="${H - 6}" text-anchor="middle">${data.ts[k]}</text>`;
    svg += `<path d="M${LEFT} ${TOP}V${H - BOTTOM}H${W - 8}" fill="none" stroke="currentColor"/>`;
    svg += `<path d="M${x(i)} ${TOP}V${H - BOTTOM}" stroke="currentColor" opacity=".4"/>`;
    for (const { colour, mean, sd } of lines) {
      // A single seed has no standard deviation.
      if (!sd.includes(null)) {
        const band = path(mean.map((m, k) => m + sd[k])) + "L";
        const back = mean.map((m, k) => `${x(k)} ${y(m - sd[k])}`).reverse().join("L");
        svg += `<path d="M${band}${back}Z" fill="${colour}" opacity=".15"/>`;
      }
      svg += `<path d="M${path(mean)}" fill="none" stroke="${colour}" stroke-width="1.6"/>`;
      svg += `<circle cx="${x(i)}" cy="${y(mean[i])}" r="3.5" fill="${colour}"/>`;
    }
    const text = lines.map(
      ({ split, mean }) => `${split} from ${mean[0]} at t=0 to ${mean.at(-1)} at t=1, ` +
        `between ${Math.min(...mean)} and ${Math.max(...mean)}`);
    const plus = (sd) => (sd === null ? "" : ` ± ${sd.toFixed(3)}`);
    const now = lines.map(({ split, mean, sd }) => `${split} ${mean[i].toFixed(3)}${plus(sd[i])}`);
    return `<figure><svg viewBox="0 0 ${W} ${H}" role="img" font-size="11" fill="currentColor"
      aria-label="${metric.label} along t: ${text.concat(lost).join("; ")}">${svg}</svg>
      <figcaption>${now.concat(lost).join("<br>")}</figcaption></figure>`;
  }

  function draw() {
    const curve = data.curves[`${from.value}|${to.value}|${kind.value}`];
    const i = +slider.value;
    slider.setAttribute("aria-valuetext", `t = ${data.ts[i]}`);
    say.textContent = `t = ${data.ts[i]}. ${curve.verdict}`;
    panels.innerHTML = data.metrics.map((metric) => panel(metric, metric.splits.map((split) => {
      const [mean, sd] = curve.values[`${metric.name}|${split}`];
      return { split, colour: data.colours[split], mean, sd };
    }), i)).join("");
  }

  function choose() {
    fill(to, Object.keys(pairs[from.value]));
    fill(kind, pairs[from.value][to.value]);
    draw();
  }

  slider.max = data.ts.length - 1;
  slider.value = slider.max / 2;
  fill(from, Object.keys(pairs));
  from.onchange = to.onchange = kind.onchange = choose;
  slider.oninput = draw;
  choose();
})
