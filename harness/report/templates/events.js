// SPDX-License-Identifier: Apache-2.0
// Events over the time of a run, as dots; the one nearest to the cursor is told, and leads to its run.

// Events over time. spec: lines [{name, slot, moments: [tick, value, row, ...]}], duration, yRange, height, label,
// noun, open(row). A click, or Enter at the cursor, opens the run.
const TICKS = 10000;
// From 0 to the duration in four to ten round steps.
const roundTimes = (duration) => {
  const size = 10 ** Math.floor(Math.log10(duration / 4));
  const step = [5, 2, 1].map((factor) => factor * size).find((each) => duration / each >= 4);
  return Array.from({ length: Math.floor(duration / step + 0.01) + 1 }, (_, place) => place * step);
};
const eventPlot = (host, spec) => {
  const points = [];
  spec.lines.forEach((line, place) => {
    const { moments } = line;
    for (let at = 0; at < moments.length; at += 3) points.push([moments[at], moments[at + 1], moments[at + 2], place]);
  });
  points.sort((a, b) => a[0] - b[0]);
  const data = [points.map((point) => point[0])];
  const series = [{}];
  spec.lines.forEach((line, place) => {
    data.push(points.map((point) => (point[3] === place ? point[1] : null)));
    series.push({
      stroke: slotColour(line.slot), paths: () => null,
      points: { show: true, size: 5, width: 0, fill: () => alpha(theme.slots[line.slot], 0.62), stroke: "transparent" },
    });
  });
  const hidden = spec.hidden || new Set();
  const tip = tipOf(host);
  let found = null;
  const seconds = (tick) => time((tick / TICKS) * spec.duration);
  const told = ([tick, value, row, place]) => {
    const line = spec.lines[place];
    return [spec.noun ? `${spec.noun} of ${time(value)}` : time(value), [[line.slot, false, line.name, spec.runName(row)], [null, false, "after", seconds(tick)]]];
  };
  const mark = el("div", { className: "mark", hidden: true });
  const show = (u, point) => {
    found = point;
    mark.hidden = point === null;
    if (point === null) return tip.hide();
    const x = u.valToPos(point[0], "x");
    const y = u.valToPos(point[1], "y");
    mark.style.transform = `translate(${x - 6}px, ${y - 6}px)`;
    tip.show(...told(point), u.over.offsetLeft + x, 6);
  };
  const u = mount(host, {
    height: spec.height, series, padding: [10, 24, 0, 0],
    scales: { x: { time: false, range: [0, TICKS] }, y: { distr: 3, range: spec.yRange } },
    axes: [
      axis({ size: 30, splits: () => roundTimes(spec.duration).map((at) => (at / spec.duration) * TICKS),
        values: (u, splits) => thinLabels(u, splits, splits.map((tick) => (tick === 0 ? "0" : setting((tick / TICKS) * spec.duration)))) }),
      axis({ size: 62, splits: () => decades(...spec.yRange), values: (u, splits) => splits.map(setting) }),
    ],
    cursor: {
      x: false, y: false, points: { show: false },
      drag: { x: false, y: false, click: () => {} }, // uPlot takes a click at half a pixel for a drag, and swallows it
    },
    hooks: {
      setCursor: [(u) => {
        const { left, top } = u.cursor;
        if (u.keyed) return;
        let best = 900; // 30 pixels
        let nearest = null;
        if (left >= 0) {
          for (const point of points) {
            if (hidden.has(point[3])) continue;
            const dx = u.valToPos(point[0], "x") - left;
            if (dx > 30) break;
            const dy = u.valToPos(point[1], "y") - top;
            if (dx * dx + dy * dy < best) { best = dx * dx + dy * dy; nearest = point; }
          }
        }
        show(u, nearest);
      }],
    },
  }, data);
  u.over.append(mark);
  for (const place of hidden) u.setSeries(place + 1, { show: false });
  const open = () => { if (found && spec.open) spec.open(found[2]); };
  u.over.addEventListener("click", open);
  host.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  byKeys(host, u, () => points.filter((point) => !hidden.has(point[3])), (point) => {
    show(u, point);
    const [title, rows] = told(point);
    return `${title}, ${rows.map(([, , name, text]) => `${name} ${text}`).join(", ")}`;
  }, () => show(u, null));
  return u;
};
