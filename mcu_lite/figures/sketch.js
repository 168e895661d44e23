// A small canvas on which a reader draws what the model that is asked then sees.
(function (root, data, models) {
  const pad = root.querySelector("canvas"), { most, size: [height, width] } = data.canvas;
  const say = root.querySelector(".mcu-own output"), bars = root.querySelector(".mcu-bars");
  const paint = pad.getContext("2d"), cell = pad.width / width, ink = new Float32Array(height * width);
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

  // No image of the task has more ink than `most` in a place, and the models know no other.
  function answer() {
    const x = models.inputs(ink.map((v, i) => Math.min(v, most[i])), 1);
    const p = models.answers(root.models.asked(), x, 1)[0].map(Math.exp);
    const best = p.indexOf(Math.max(...p));
    const said = `${data.names[best]}, ${Math.round(100 * p[best])}%`;
    if (say.textContent !== said) say.textContent = said;
    [...bars.children].forEach((bar, i) => bar.style.setProperty("--p", p[i]));
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

  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    dab(event);
  });
  pad.addEventListener("pointermove", (event) => pad.hasPointerCapture(event.pointerId) && dab(event));
  pad.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step && event.key !== " ") return;
    event.preventDefault();
    const inside = (v, size) => Math.min(Math.max(v, 0), size - 1);
    if (step) at = [inside(at[0] + step[0], width), inside(at[1] + step[1], height)];
    else ink[at[1] * width + at[0]] = ink[at[1] * width + at[0]] ? 0 : 1;
    typed = true;
    show();
  });
  root.querySelector(".mcu-clear").addEventListener("click", () => {
    ink.fill(0);
    show();
  });
  root.addEventListener("mcu-asked", answer);
  ink.set(models.splits.forget.stored.subarray(0, ink.length));
  show();
})
