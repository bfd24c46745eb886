// SPDX-License-Identifier: Apache-2.0
// Lines over a fixed x: percentiles and densities, with ranges, names at their ends, and a level.

// Names at the right ends of the lines, moved apart where they would lie on each other.
const nameEnds = (u, lines, hidden) => {
  const ends = [];
  lines.forEach((line, place) => {
    if (hidden.has(place) || line.endX === undefined) return;
    ends.push({ line, x: u.valToPos(line.endX, "x", true), y: u.valToPos(line.endY, "y", true) });
  });
  const ratio = devicePixelRatio;
  const context = u.ctx;
  context.save();
  context.font = `600 ${12 * ratio}px ${theme.font.slice(5)}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const { line, x, y } of ends) {
    context.beginPath();
    context.fillStyle = theme.slots[line.slot];
    context.arc(x, y, 4 * ratio, 0, 2 * Math.PI);
    context.fill();
  }
  ends.sort((a, b) => a.y - b.y);
  const gap = 15 * ratio;
  let floor = u.bbox.top + 6 * ratio;
  for (const end of ends) { end.at = Math.max(end.y, floor); floor = end.at + gap; }
  let ceiling = u.bbox.top + u.bbox.height - 2 * ratio;
  for (const end of [...ends].reverse()) { end.at = Math.min(end.at, ceiling); ceiling = end.at - gap; }
  for (const { line, at } of ends) {
    context.fillStyle = theme.slots[line.slot];
    context.fillText(line.name, u.bbox.left + u.bbox.width + 10 * ratio, at);
  }
  context.restore();
};

const levelLine = (u, level, text) => {
  const { low, high } = { low: u.scales.y.min, high: u.scales.y.max };
  if (!(level > low && level < high)) return;
  const ratio = devicePixelRatio;
  const y = Math.round(u.valToPos(level, "y", true)) + 0.5;
  const context = u.ctx;
  context.save();
  context.strokeStyle = context.fillStyle = theme.faint;
  context.lineWidth = ratio;
  context.setLineDash([5 * ratio, 4 * ratio]);
  context.beginPath();
  context.moveTo(u.bbox.left, y);
  context.lineTo(u.bbox.left + u.bbox.width, y);
  context.stroke();
  context.font = `${11 * ratio}px ${theme.font.slice(5)}`;
  context.fillStyle = theme.soft;
  context.textBaseline = "bottom";
  context.textAlign = "left";
  context.fillText(text, u.bbox.left + 8 * ratio, y - 3 * ratio);
  context.restore();
};

// Lines over x. spec: x, lines [{name, slot, dash, mid, low, high, endX, endY}], xRange, yRange, xSplits, xLabels,
// yLabel, title(index), text(line, index), height, align (of the steps), names, level {at, text}, label, hidden, sync.
const linePlot = (host, spec) => {
  const crowded = spec.lines.length > 10;
  const data = [spec.x];
  const series = [{}];
  const bands = [];
  const stepped = uPlot.paths.stepped({ align: spec.align });
  for (const line of spec.lines) {
    const first = data.length;
    data.push(line.mid);
    series.push({
      stroke: slotColour(line.slot), width: crowded ? 0.9 : spec.thin ? 1.4 : 2.2, dash: line.dash ? [7, 4] : undefined,
      paths: stepped, points: { show: false },
      fill: spec.filled ? () => alpha(theme.slots[line.slot], 0.1) : undefined,
      fillTo: spec.filled ? (u) => u.scales.y.min : undefined,
    });
    for (const values of [line.high, line.low]) {
      data.push(values || line.mid.map(() => null));
      series.push({ stroke: "transparent", width: 0, paths: stepped, points: { show: false } });
    }
    if (line.low) bands.push({ series: [first + 1, first + 2], fill: () => alpha(theme.slots[line.slot], 0.16) });
  }
  const hidden = spec.hidden || new Set();
  const tip = tipOf(host);
  let focused = null;
  // Of very many lines the one under the cursor and the largest few: a box of fifty rows helps nobody.
  const words = (index) => {
    const shown = spec.lines.filter((_, place) => !hidden.has(place));
    const rank = (line) => (line === focused ? Infinity : line.mid[index]);
    const first = crowded ? [...shown].sort((a, b) => rank(b) - rank(a)).slice(0, 8) : shown;
    const rows = first.map((line) => [line.slot, line.dash, line.name, spec.text(line, index)]);
    return first.length < shown.length ? [...rows, [null, false, `and ${shown.length - first.length} below`, ""]] : rows;
  };
  const u = mount(host, {
    height: spec.height,
    padding: [10, spec.names ? 26 + Math.max(...spec.lines.map((line) => 7.6 * line.name.length)) : 36, 0, 0],
    series, bands,
    scales: {
      x: { time: false, range: spec.xRange },
      y: { distr: 3, range: spec.yRange },
    },
    axes: [
      axis({ size: 30, splits: () => spec.xSplits, values: (u, splits) => thinLabels(u, splits, spec.xLabels) }),
      axis({ size: spec.small ? 52 : 62, splits: () => decades(...spec.yRange), values: (u, splits) => splits.map(spec.yLabel) }),
    ],
    cursor: {
      y: false, drag: { x: false, y: false }, sync: spec.sync ? { key: spec.sync } : undefined,
      focus: { prox: crowded ? 40 : -1 },
      points: { show: !crowded, size: 7, fill: (u, place) => (place % 3 === 1 ? theme.slots[spec.lines[(place - 1) / 3].slot] : "transparent"), stroke: "transparent" },
    },
    focus: { alpha: 0.25 },
    hooks: {
      setSeries: [(u, place) => { focused = place === null ? null : spec.lines[Math.floor((place - 1) / 3)]; }],
      setCursor: [(u) => {
        const index = u.cursor.idx;
        const here = host.matches(":hover, :focus") || u.touched;
        if (index === null || index === undefined || !here || u.cursor.left < 0) return tip.hide();
        tip.show(spec.title(index), words(index), u.over.offsetLeft + u.valToPos(spec.x[index], "x"), 6);
      }],
      drawAxes: [(u) => { if (spec.level) levelLine(u, spec.level.at, spec.level.text); }],
      draw: [(u) => { if (spec.names) nameEnds(u, spec.lines, hidden); }],
    },
  }, data);
  for (const place of hidden) toggleLine(u, place, false);
  u.over.addEventListener("pointerdown", () => { u.touched = true; });
  const stops = () => spec.x.map((_, index) => index).filter((index) => index % (spec.stride || 1) === 0);
  byKeys(host, u, stops, (index) => {
    u.setCursor({ left: u.valToPos(spec.x[index], "x"), top: u.over.clientHeight / 2 });
    return `${spec.title(index)}: ${words(index).map(([, , name, text]) => `${name} ${text}`).join(", ")}`;
  }, () => { tip.hide(); u.setCursor({ left: -10, top: -10 }); });
  return u;
};
const toggleLine = (u, place, show) => {
  for (const each of [1, 2, 3]) u.setSeries(3 * place + each, { show });
};
