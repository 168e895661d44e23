// A plane of models: the page asks the one under the pointer, and bends a path as a hand drags it.
(function (root, data, models) {
  const find = (selector) => root.querySelector(selector);
  const all = (selector) => [...root.querySelectorAll(selector)];
  const { chord, few, sides: kinds, tolerance } = data, SLICE = 12, REST = 150; // milliseconds
  const [map, over, say, slider] = [".mcu-map", ".mcu-over", ".mcu-say", "[type=range]"].map(find);
  const [probe, control] = all(".mcu-handle"), still = matchMedia("(prefers-reduced-motion: reduce)");
  const coarse = Array.from({ length: 9 }, (_, i) => i / 8);
  const state = { path: 0, control: null, t: 0.5, free: null };
  let along, turn = 0, queued = false, bent = false, resting;

  // Where things are

  const path = () => data.paths[state.path];
  const onCurve = (t) => {
    const bend = 2 * t * (1 - t), [x, y] = state.control;
    return [bend * x + t * t * chord, bend * y];
  };
  const asked = () => state.free ?? onCurve(state.t);
  const drawn = (point) => path().scale.map(([zero, unit], i) => zero + unit * point[i]);
  const inside = (point) =>
    point.map((v, i) => Math.min(Math.max(v, path().reach[i][0]), path().reach[i][1]));
  const under = ({ clientX, clientY }) => {
    const { left, top, width } = over.getBoundingClientRect();
    const zoom = over.viewBox.baseVal.width / width, at = [clientX - left, clientY - top];
    return inside(path().scale.map(([zero, unit], i) => (at[i] * zoom - zero) / unit));
  };

  // What is measured

  const lossesAt = (t, most) => {
    const row = models.model(onCurve(t), path());
    return kinds.map(({ split }) => models.measured(row, models.splits[split], most).loss);
  };
  const sorted = (ts, losses) => ({ ts, values: kinds.map((_, k) => losses.map((own) => own[k])) });

  // All t, all examples, in slices between which the page draws; it ends when the hand moves again.
  async function finely() {
    const mine = ++turn, losses = [];
    let began = performance.now();
    for (const t of data.ts) {
      losses.push(lossesAt(t));
      if (performance.now() - began > SLICE) {
        await new Promise(requestAnimationFrame);
        if (mine !== turn) return;
        began = performance.now();
      }
    }
    along = sorted(data.ts, losses);
    root.dataset.measured = "finely";
    tell();
    draw();
  }

  function coarsely() {
    turn++;
    clearTimeout(resting);
    resting = setTimeout(finely, REST);
    along = sorted(coarse, coarse.map((t) => lossesAt(t, few / 3)));
    root.dataset.measured = "coarsely";
    tell();
  }

  // How far each loss lies beyond its limit: as `mcu_lite.is_connected` judges.
  function judged({ ts, values }) {
    return kinds.map(({ split, sign }, k) => {
      const own = values[k], line = ts.map((t) => (1 - t) * own[0] + t * own.at(-1));
      const over = own.map((v, i) => sign * (v - line[i]) - tolerance), by = Math.max(...over);
      return { split, sign, own, line, by, t: ts[over.indexOf(by)] };
    });
  }

  // What is said and drawn

  function tell() {
    const breaks = judged(along).filter(({ by }) => by > 0).sort((one, other) => other.by - one.by);
    const how = breaks.map(({ split, by, t }) =>
      `the ${split} inequality breaks by ${by.toFixed(2)} nats at t = ${+t.toFixed(3)}`);
    const [x, y] = state.control.map((v) => v.toFixed(2));
    say.setAttribute("aria-busy", along.ts === coarse);
    say.innerHTML = `<b>${breaks.length ? "Not connected" : "Connected"}</b>: ` +
      (how.join(", ") || `both inequalities hold at every t, up to ε = ${tolerance} nats`) +
      `. Control point: (${x}, ${y}).`;
  }

  const W = 340, H = 168, LEFT = 38, RIGHT = W - 12, TOP = 24, BOTTOM = H - 20;

  function panel({ split, sign, own, line, by }, { ts }) {
    const colour = data.colours[split], ink = data.inks[split];
    const limit = line.map((v) => v + sign * tolerance);
    const beyond = own.map((v, i) => sign * Math.max(sign * v, sign * limit[i]));
    const low = Math.min(...own, ...limit, ...line), high = Math.max(...own, ...limit, ...line);
    const x = (t) => +(LEFT + (RIGHT - LEFT) * t).toFixed(1);
    const y = (v) => +(BOTTOM - ((BOTTOM - TOP) * (v - low)) / (high - low)).toFixed(1);
    const points = (values) => values.map((v, i) => `${x(ts[i])} ${y(v)}`);
    const area = (edge, opacity) => `<path d="M${points(limit).join("L")}L${points(edge).reverse()
      .join("L")}Z" fill="${colour}" opacity="${opacity}"/>`;
    const curve = (values, more) => `<path d="M${points(values).join("L")}" fill="none" ${more}/>`;
    const text = (x, y, words, more = "") => `<text x="${x}" y="${y}" ${more}>${words}</text>`;
    const k = Math.max(ts.findIndex((v) => v >= state.t), 1), part = (state.t - ts[k - 1]) / (ts[k] - ts[k - 1]);
    const now = own[k - 1] + part * (own[k] - own[k - 1]), side = state.t < 0.75 ? 7 : -7;
    const said = `${split} loss, from ${own[0].toFixed(2)} at t = 0 to ${own.at(-1).toFixed(2)} at ` +
      `t = 1, ${by > 0 ? `breaks its limit by ${by.toFixed(2)}` : "keeps its limit"}; ` +
      `at t = ${state.t.toFixed(2)} it is ${now.toFixed(2)} nats`;
    return `<div class="mcu-panel"><svg class="mcu-figure" viewBox="0 0 ${W} ${H}" font-size="12"
      fill="currentColor" role="img" aria-label="${said}">
      ${text(0, 11, `${split} loss ${sign > 0 ? "↓" : "↑"}`, `fill="${ink}" class="mcu-title"`)}
      ${[low, (low + high) / 2, high].map((v) =>
        text(LEFT - 6, y(v) + 4, v.toFixed(2), 'text-anchor="end"')).join("")}
      ${text(LEFT, H - 4, data.ends[0])}${text(RIGHT, H - 4, data.ends[1], 'text-anchor="end"')}
      <path d="M${LEFT} ${TOP}V${BOTTOM}H${RIGHT}" fill="none" stroke="currentColor" opacity=".5"/>
      ${area(line, 0.18)}${area(beyond, 0.5)}${curve(limit, `stroke="${colour}"`)}
      ${curve(line, 'stroke="currentColor" stroke-dasharray="5 4"')}
      ${curve(own, `stroke="${colour}" stroke-width="2.2"`)}
      <path d="M${x(state.t)} ${TOP}V${BOTTOM}" stroke="currentColor" opacity=".4"/>
      <circle cx="${x(state.t)}" cy="${y(now)}" r="4" fill="${colour}"/>
      ${text(x(state.t) + side, y(now) - 6, now.toFixed(2), `fill="${ink}" class="mcu-value"
        text-anchor="${side > 0 ? "start" : "end"}"`)}</svg></div>`;
  }

  function drawMap() {
    const [a, bend, b] = [[0, 0], state.control, [chord, 0]].map(drawn);
    over.innerHTML = `<path d="M${a}L${b}" class="mcu-chord"/>
      <path d="M${a}L${bend}L${b}" class="mcu-leash"/><path d="M${a}Q${bend} ${b}" class="mcu-curve"/>`;
    const { width, height } = over.viewBox.baseVal;
    for (const [handle, point] of [[control, bend], [probe, drawn(asked())]]) {
      handle.style.left = `${(100 * point[0]) / width}%`;
      handle.style.top = `${(100 * point[1]) / height}%`;
    }
  }

  function drawFaces() {
    const row = models.model(asked(), path());
    for (const group of all(".mcu-group")) {
      const { split } = group.dataset, { x, labels } = models.splits[split];
      const n = Math.min(labels.length, few), answers = models.answers(row, x, n);
      const best = answers.map((own) => own.indexOf(Math.max(...own)));
      const right = best.filter((own, i) => own === labels[i]).length;
      group.querySelector("output").textContent = `${right} of ${n}`;
      group.querySelectorAll("[data-place]").forEach((face) => {
        const i = +face.dataset.place, mark = best[i] === labels[i] ? "✓" : "✗";
        face.querySelector("span span").innerHTML =
          `${mark} <b>${data.names[best[i]]}</b> ${Math.round(100 * Math.exp(answers[i][best[i]]))}%`;
      });
    }
  }

  function draw() {
    drawMap();
    drawFaces();
    find(".mcu-panels").innerHTML = judged(along).map((own) => panel(own, along)).join("");
    slider.value = state.t;
    slider.setAttribute("aria-valuetext", `t = ${state.t.toFixed(2)}`);
    find(".mcu-t").textContent = state.t.toFixed(2);
    root.dispatchEvent(new Event("mcu-asked"));
  }

  // One frame for all that happened since the last one.
  function soon(curve) {
    bent ||= curve;
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      if (bent) coarsely();
      queued = bent = false;
      draw();
    });
  }

  // What a reader does

  function choose(k, at) {
    state.path = k;
    state.control = at ?? path().start;
    state.free = null;
    all("[data-map]").forEach((own, i) => (own.hidden = i !== data.paths[k].map));
    all("[type=radio]")[k].checked = true;
    soon(true);
  }

  const move = {
    control: (to) => {
      state.control = to;
      soon(true);
    },
    probe: (to) => {
      state.free = to;
      soon(false);
    },
  };

  function follow(handle, place, set) {
    handle.addEventListener("pointerdown", (event) => {
      handle.setPointerCapture(event.pointerId);
      handle.focus();
      state.free = null;
      event.preventDefault();
    });
    handle.addEventListener("pointermove", (event) => {
      if (handle.hasPointerCapture(event.pointerId)) set(under(event));
    });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const size = (chord / 50) * (event.shiftKey ? 5 : 1);
      set(inside(place().map((v, i) => v + step[i] * size)));
    });
    handle.addEventListener("pointerup", link);
    handle.addEventListener("keyup", link);
  }

  // The address keeps what was done, for whoever wants to show it.
  function link() {
    const [x, y] = state.control.map((v) => v.toFixed(3));
    const now = new URLSearchParams({ t: state.t.toFixed(3), x, y, path: path().name });
    history.replaceState(null, "", `#${now}`);
  }

  function linked() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    const k = data.paths.findIndex(({ name }) => name === wanted.get("path"));
    const number = (name) => parseFloat(wanted.get(name) ?? "");
    const at = ["x", "y"].map(number), t = number("t");
    if (k >= 0 && t >= 0 && t <= 1) state.t = t;
    choose(Math.max(k, 0), k >= 0 && at.every(Number.isFinite) ? at : undefined);
  }

  function play(button) {
    let last;
    const playing = () => button.getAttribute("aria-pressed") === "true";
    const frame = (now) => {
      if (!playing()) return;
      const pause = still.matches ? 800 : 0;
      if (last === undefined || now - last >= pause) {
        state.t = Math.min(1, state.t + (still.matches ? 0.1 : (now - (last ?? now)) / 5000));
        last = now;
        soon(false);
      }
      if (state.t === 1) button.setAttribute("aria-pressed", false);
      requestAnimationFrame(frame);
    };
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", !playing());
      if (playing() && state.t === 1) state.t = 0;
      state.free = last = undefined;
      requestAnimationFrame(frame);
    });
  }

  follow(control, () => state.control, move.control);
  follow(probe, asked, move.probe);
  for (const kind of ["pointerdown", "pointermove"])
    map.addEventListener(kind, (event) => event.target === control || move.probe(under(event)));
  map.addEventListener("pointerleave", ({ pointerType }) => pointerType === "mouse" && move.probe(null));
  slider.addEventListener("input", () => {
    state.t = +slider.value;
    move.probe(null);
  });
  slider.addEventListener("change", link);
  all("[type=radio]").forEach((button, k) => button.addEventListener("change", () => {
    choose(k);
    link();
  }));
  play(find(".mcu-play"));
  addEventListener("hashchange", () => location.hash.includes("path=") && linked());
  all("[data-live]").forEach((part) => (part.hidden = false));
  root.models = {
    ...models,
    state,
    asked: () => models.model(asked(), path()),
    along: (t) => models.model(onCurve(t), path()),
    at: (point, k) => models.model(point, data.paths[k]),
    judged: () => judged(along),
  };
  linked();
})
