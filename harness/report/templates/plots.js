// SPDX-License-Identifier: Apache-2.0
// The plots, by uPlot: lines over a fixed x (percentiles, densities), and events over time. Each has a cursor that a
// mouse, a finger and the arrow keys move, and a box that says the values there.

const plots = new Set();

// Plots are made when they come near the screen: a page may have hundreds.
const makers = new Map();
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) makeNow(entry.target);
}, { rootMargin: "400px" });
const later = (host, make) => {
  makers.set(host, make);
  near.observe(host);
};
const makeNow = (host) => {
  const make = makers.get(host);
  makers.delete(host);
  near.unobserve(host);
  if (make) make();
};

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const width = Math.floor(target.clientWidth);
    if (target.plot && width > 0 && width !== target.plot.width) {
      target.plot.setSize({ width, height: target.plot.height });
    }
  }
});
const redraw = () => {
  readTheme();
  for (const plot of plots) plot.redraw(false, true);
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  document.documentElement.classList.add("paper");
  for (const host of [...makers.keys()]) if (host.isConnected) makeNow(host);
  redraw();
});
addEventListener("afterprint", () => {
  document.documentElement.classList.remove("paper");
  redraw();
});

const alpha = (colour, share) => `${colour}${Math.round(255 * share).toString(16).padStart(2, "0")}`;
const slotColour = (slot) => () => theme.slots[slot];

// Ticks of a log axis: powers of ten, of very many every second or third, of few 2 and 5 between them too.
const decades = (low, high) => {
  const found = [];
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const stride = Math.ceil((last - first) / 7);
  for (let n = first; n <= last; n++) {
    for (const factor of high / low < 60 ? [1, 2, 5] : [1]) {
      const value = factor * 10 ** n;
      if (value >= low * 0.999 && value <= high * 1.001 && n % stride === 0) found.push(value);
    }
  }
  return found;
};

// Leave out labels that would lie on each other, or reach beyond the plot.
const thinLabels = (u, splits, labels) => {
  const pixels = (split) => u.valToPos(split, "x");
  let edge = -Infinity;
  return splits.map((split, place) => {
    const half = 3.6 * labels[place].length + 4;
    const at = pixels(split);
    if (at - half < edge || at + half > u.bbox.width / devicePixelRatio + 24) return "";
    edge = at + half;
    return labels[place];
  });
};

const axis = (more) => ({
  stroke: () => theme.soft,
  grid: { stroke: () => theme.grid, width: 1 },
  ticks: { show: false },
  filter: (u, splits) => splits, // all of them: uPlot would thin those of a log axis
  font: theme.font,
  ...more,
});

// The box beside the cursor. `rows` are [slot or null, dashed, name, text].
const tipOf = (host) => {
  const box = el("div", { className: "tip", hidden: true, "aria-hidden": "true" });
  host.append(box);
  return {
    hide: () => { box.hidden = true; },
    show: (title, rows, x, y) => {
      box.replaceChildren(el("b", {}, title), ...rows.map(([slot, dashed, name, text]) => el("div", {},
        slot === null ? null : el("span", { className: `swatch s${slot}${dashed ? " dash" : ""}` }),
        el("span", {}, name), el("span", {}, text))));
      box.hidden = false;
      const room = host.clientWidth - box.offsetWidth - 4;
      const left = x < host.clientWidth / 2 ? x + 16 : x - box.offsetWidth - 16;
      box.style.left = `${Math.max(0, Math.min(room, left))}px`;
      box.style.top = `${y}px`;
    },
  };
};

// A finger moves the cursor as a mouse does; up and down it scrolls the page.
const byTouch = (u) => {
  const move = (event) => {
    if (event.pointerType === "mouse") return;
    const box = u.over.getBoundingClientRect();
    u.setCursor({ left: event.clientX - box.left, top: event.clientY - box.top });
  };
  u.over.addEventListener("pointerdown", move);
  u.over.addEventListener("pointermove", move);
};

// Left and right, Home and End move the cursor over the places that `stops()` lists; Escape hides it.
const byKeys = (host, u, stops, go, hide) => {
  let place = -1;
  host.tabIndex = 0;
  host.addEventListener("keydown", (event) => {
    const all = stops();
    if (all.length === 0) return;
    const last = all.length - 1;
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last };
    if (event.key === "Escape" && place >= 0) {
      place = -1;
      event.stopPropagation();
      event.preventDefault();
      return hide();
    }
    if (!(event.key in moves) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    place = Math.max(0, Math.min(last, moves[event.key]));
    say(go(all[place]));
  });
  host.addEventListener("blur", () => { place = -1; hide(); });
};

const mount = (host, options, data) => {
  const width = Math.max(120, Math.floor(host.clientWidth));
  const u = new uPlot({ width, legend: { show: false }, ...options }, data, host);
  host.plot = u;
  plots.add(u);
  sizes.observe(host);
  byTouch(u);
  return u;
};
const unmount = (host) => {
  if (!host.plot) return;
  sizes.unobserve(host);
  plots.delete(host.plot);
  host.plot.destroy();
  host.plot = null;
  host.replaceChildren();
};

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
    padding: [10, spec.names ? 26 + Math.max(...spec.lines.map((line) => 7.6 * line.name.length)) : 14, 0, 0],
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
    cursor: { x: false, y: false, drag: { x: false, y: false }, points: { show: false } },
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
