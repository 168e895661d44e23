// A canvas with an image of the task, or what a reader draws, and what models see in it along t.
(function (root, data, models) {
  const pad = root.querySelector("canvas"), { most, size: [height, width] } = data.canvas;
  const say = root.querySelector(".mcu-own output"), seen = root.querySelector(".mcu-seen");
  const paint = pad.getContext("2d"), cell = pad.width / width, ink = new Float32Array(height * width);
  const ts = Array.from({ length: 17 }, (_, i) => i / 16);
  const W = 340, H = 150, LEFT = 30, RIGHT = W - 12, TOP = 16, BOTTOM = H - 20;
  let at = [Math.floor(width / 2), Math.floor(height / 2)], typed = false;

  function show() {
    paint.fillStyle = "white";
    paint.fillRect(0, 0, pad.width, pad.height);
    ink.forEach((v, i) => {
      paint.fillStyle = `rgb(0 0 0 / ${v})`;
      paint.fillRect((i % width) * cell, Math.floor(i / width) * cell, cell, cell);
    });
    paint.strokeStyle = "#d55e00";
    paint.lineWidth = 3;
    if (typed) paint.strokeRect(at[0] * cell + 1.5, at[1] * cell + 1.5, cell - 3, cell - 3);
    answer();
  }

  const called = (p) => {
    const best = p.indexOf(Math.max(...p));
    return `${data.names[best]} ${Math.round(100 * p[best])}%`;
  };

  // No image of the task has more ink than `most` in a place, and the models know no other.
  function answer() {
    const x = models.inputs(ink.map((v, i) => Math.min(v, most[i])), 1);
    const sees = (row) => models.answers(row, x, 1)[0].map(Math.exp);
    const now = called(sees(root.models.asked()));
    if (say.textContent !== now) say.textContent = now;
    draw(ts.map((t) => sees(root.models.along(t))));
  }

  // The probability of each class along t; its name stands where it is highest.
  function draw(seenAt) {
    const x = (t) => +(LEFT + (RIGHT - LEFT) * t).toFixed(1);
    const y = (p) => +(BOTTOM - (BOTTOM - TOP) * p).toFixed(1);
    const line = (name, c) => {
      const own = seenAt.map((p) => p[c]), top = Math.max(...own), peak = own.indexOf(top);
      if (top < 0.03) return "";
      return `<path d="M${own.map((p, i) => `${x(ts[i])} ${y(p)}`).join("L")}" fill="none"
        stroke="currentColor" stroke-width="2" opacity="${0.35 + 0.65 * top}"/><text x="${x(ts[peak])}"
        y="${y(top) - 4}" text-anchor="middle" class="mcu-value">${name}</text>`;
    };
    const { t } = root.models.state, said = [0, 8, 16].map((i) => `${called(seenAt[i])} at t = ${ts[i]}`);
    seen.innerHTML = `<svg class="mcu-figure" viewBox="0 0 ${W} ${H}" font-size="12" role="img"
      fill="currentColor" aria-label="probability of each class along t: ${said.join(", ")}">
      ${[0, 0.5, 1].map((p) => `<text x="${LEFT - 6}" y="${y(p) + 4}" text-anchor="end">${p}</text>`).join("")}
      <path d="M${LEFT} ${TOP}V${BOTTOM}H${RIGHT}" fill="none" stroke="currentColor" opacity=".5"/>
      <path d="M${x(t)} ${TOP}V${BOTTOM}" stroke="currentColor" opacity=".4"/>
      ${data.names.map(line).join("")}<text x="${LEFT}" y="${H - 4}">${data.ends[0]}</text>
      <text x="${RIGHT}" y="${H - 4}" text-anchor="end">${data.ends[1]}</text></svg>`;
  }

  // A soft round pen: as dark as a cell's centre is near.
  function dab({ offsetX, offsetY }) {
    const zoom = width / pad.clientWidth, [x, y] = [offsetX * zoom - 0.5, offsetY * zoom - 0.5];
    ink.forEach((v, i) => {
      const far = Math.hypot((i % width) - x, Math.floor(i / width) - y);
      ink[i] = Math.max(v, Math.min(1, Math.max(0, 1.35 - far)));
    });
    typed = false;
    show();
  }

  const faces = [...root.querySelectorAll(".mcu-group button")];
  const put = (values, chosen) => {
    faces.forEach((face) => face.setAttribute("aria-pressed", face === chosen));
    ink.set(values);
    typed = false;
    show();
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    dab(event);
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && dab(event));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    const inside = (v, most) => Math.min(Math.max(v, 0), most - 1);
    if (step) at = [inside(at[0] + step[0], width), inside(at[1] + step[1], height)];
    else ink[at[1] * width + at[0]] = ink[at[1] * width + at[0]] ? 0 : 1;
    typed = true;
    show();
  });
  root.querySelector(".mcu-clear").addEventListener("click", () => put(new Float32Array(ink.length)));
  for (const face of faces) {
    const { split } = face.closest("[data-split]").dataset, start = face.dataset.place * ink.length;
    const image = models.splits[split].stored.subarray(start, start + ink.length);
    face.addEventListener("click", () => put(image, face));
  }
  show();
  faces[0]?.click();
  root.addEventListener("mcu-asked", answer);
})
