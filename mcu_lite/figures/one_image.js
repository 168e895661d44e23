// Draws one image along one path: what is predicted at t, and two measures along t.
({ data, path, along, t, k, root, bars, lines }) => {
  const faces = [...root.querySelectorAll("input[type=radio]")];
  for (const face of faces) face.name = root.id; // one choice for each drawing of a page
  const j = faces.findIndex((face) => face.checked);
  const label = data.labels[j], truth = data.truth[j], { forget, test } = data.colours;
  root.querySelector(".mcu-chosen img").src = faces[j].nextElementSibling.src;

  function measure(title, values, top) {
    const own = along(values).map((all) => all[j] / 1000);
    const mean = along(values).map((all) => all.reduce((sum, v) => sum + v) / all.length / 1000);
    return lines(title, [
      { name: "this image", colour: forget, mean: own },
      { name: "mean of all (dashed)", colour: "currentColor", dash: "4 3", mean },
    ], [0, top ?? Math.max(...own, ...mean, 0.1)]);
  }

  const now = along(path.p)[k][j].map((v) => v / 1000);
  const best = now.indexOf(Math.max(...now));
  return [
    `Image ${j + 1} is a ${truth}, labelled ${label}. At t = ${t} the model predicts ${best} with ` +
      `${Math.round(100 * now[best])}%${best === label ? ", the label it was to forget" : ""}.`,
    [
      bars("predicted probability", now,
        (c) => (c === label ? forget : c === truth ? test : "currentColor"),
        label === truth ? `orange: class ${label}, its label and what it is`
          : `orange: its label ${label}; green: what it is, ${truth}`),
      measure("loss (nats)", path.loss),
      measure("membership score", path.score, 1),
    ],
  ];
}
