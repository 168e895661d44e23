// Draws every metric of one curve of the atlas.
({ data, path, along, t, lines }) => [
  `t = ${t}. ${path.verdict}`,
  data.metrics.map(({ name, label, splits }) => lines(label, splits.map((split) => {
    const [mean, sd] = path.values[`${name}|${split}`].map(along);
    return { name: split, colour: data.colours[split], mean, sd };
  }))),
]
