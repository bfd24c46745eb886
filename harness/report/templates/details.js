// SPDX-License-Identifier: Apache-2.0
// One run at length, in a dialog: why it is what it is, its numbers and curves, what was asked and became, its log.

const STATES = ["valid", "suspect", "invalid", "failed"];
const runs = once(() => {
  const { strings, rows } = read("data-table");
  const levels = about.columns.length;
  return rows.map((row, number) => {
    const [target, bench, mode, load, cell] = row.slice(0, 5).map((place) => strings[place]);
    const [repeat, session, attempt, state] = row.slice(5, 9);
    const [max, missed, rate, started, rules] = row.slice(9 + levels);
    const name = `${cell}-r${repeat}${attempt === null ? "" : `-a${attempt}`}`;
    return {
      number, target, bench, mode, load, name, repeat, session, state: STATES[state], levels: row.slice(9, 9 + levels),
      max, missed, rate, started, rules: strings[rules],
    };
  });
});
const nameOfRun = (number) => `run ${runs()[number].repeat}`;
const details = once(() => read("data-details"));

const dialog = byId("run");
const hashOf = (run) => `#run=${encodeURIComponent(`${run.target}/${run.name}`)}`;
const LEVELS = [["p50", Math.log10(2)], ["p90", 1], ["p99", 2], ["p99.9", 3], ["p99.99", 4], ["p99.999", 5], ["p99.9999", 6], ["p99.99999", 7]];

const rowsOf = (rows) => {
  const list = el("dl", { className: "facts" });
  for (const [label, text] of rows) list.append(el("dt", {}, label), el("dd", {}, text));
  return list;
};
const part = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);

const reasonsOf = (reasons) => (reasons.length === 0 ? null : el("ul", { className: "reasons" }, ...reasons.map(
  ([state, rule, text, advice]) => el("li", { className: state === "suspect" ? "suspect" : "invalid" },
    el("b", {}, rule), `: ${text}`,
    advice ? el("br") : null, advice ? el("span", { className: "do" }, `To change it: ${advice}`) : null))));

const measuredName = (each) => `${each.metric}, ${each.cpu === null ? "not pinned" : `CPU ${each.cpu}`}${each.role === "measured" || each.metric.startsWith(`${each.role}.`) ? "" : `, ${each.role}`}`;
const numbersOf = (measured) => el("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Numbers of this run" },
  el("table", {},
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "histogram"),
      ...["recorded", "p50", "p90", "p99", "p99.9", "p99.99", "p99.9999", "max"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...measured.map((each) => {
      const curve = each.curve;
      const values = curve && unsteps(curve.mid, curve.points);
      const at = (name) => {
        const place = LEVELS.findIndex(([level]) => level === name);
        const point = curve ? GRID.findIndex((nines) => Math.abs(nines - LEVELS[place][1]) < 1e-4) : -1;
        if (!curve || point >= values.length) return "–";
        return place < each.told ? time(values[point]) : el("span", { className: "soft" }, "n too small");
      };
      return el("tr", {}, el("th", { scope: "row" }, measuredName(each), each.lost ? el("small", { className: "suspect" }, each.lost) : null),
        el("td", {}, each.n.toLocaleString("en")),
        ...["p50", "p90", "p99", "p99.9", "p99.99", "p99.9999"].map((name) => el("td", {}, at(name))),
        el("td", {}, curve ? time(curve.ends[0]) : "–"));
    }))));

const plotHost = (label) => el("div", { className: "plot", role: "application", "aria-roledescription": "plot", "aria-label": `${label}; arrow keys move the cursor` });
const curvesOf = (measured) => {
  const known = measured.filter((each) => each.curve);
  if (known.length === 0) return [];
  const low = Math.min(...known.map(({ curve }) => Math.max(1, curve.mid[Math.min(3, curve.mid.length - 1)])));
  const scale = {
    decades: Math.max(...known.map(({ curve }) => curve.reach)),
    low: low / 1.5, high: around(known.map(({ curve }) => curve.ends[0]))[1],
  };
  const host = plotHost("Percentiles of this run");
  const lines = known.map((each, place) => ({ name: measuredName(each), slot: (place + 1) % 8, dash: each.role !== "measured", curve: each.curve }));
  return [host, () => linePlot(host, { ...percentileSpec(lines, scale), height: 260, names: !narrow() && lines.length < 9 })];
};
const eventsOf = (events) => {
  const lines = events.moments.map(([cpu, flat], place) => {
    const moments = [];
    for (let at = 0; at < flat.length; at += 2) moments.push(flat[at], flat[at + 1], 0);
    return { name: cpu === "any" ? "not pinned" : `CPU ${cpu}`, slot: (place + 1) % 8, moments };
  });
  const values = lines.flatMap((line) => line.moments.filter((_, at) => at % 3 === 1));
  const beside = events.role === "measured" ? "" : `, ${events.role}`;
  const host = plotHost(`${events.name} over time${beside}`);
  const count = (number) => number.toLocaleString("en");
  return {
    title: `${events.name[0].toUpperCase()}${events.name.slice(1)} over time${beside}`,
    host,
    draw: () => eventPlot(host, {
      lines, duration: events.duration, height: 200, yRange: around(values), noun: "", runName: () => "",
    }),
    note: values.length < events.seen ? `${count(values.length)} of ${count(events.seen)} drawn: the longest of each part of the run's time.` : `All ${count(events.seen)}.`,
  };
};

const logOf = (log) => {
  if (!log) return el("p", { className: "note" }, "Empty.");
  const where = el("span", { className: "mono" }, log.file);
  if (!log.parts) return el("p", { className: "note" }, `${log.size.toLocaleString("en")} bytes, left out of this page for its size: `, where);
  const cut = log.parts.length > 1;
  const text = cut ? `${log.parts[0]}\n\n… cut here: the first 2 and the last 4 of ${Math.round(log.size / 1024)} KiB …\n\n${log.parts[1]}` : log.parts[0];
  return el("div", {},
    el("pre", { tabIndex: 0, role: "region", "aria-label": "Log" }, text),
    el("p", { className: "note" }, cut ? "The whole of it: " : "From ", where));
};

const fill = (run) => {
  const body = dialog.querySelector(".body");
  for (const host of body.querySelectorAll(".plot")) unmount(host);
  body.replaceChildren();
  byId("run-title").replaceChildren(run.name);
  const started = run.started === null ? "" : ` · started ${new Date(run.started * 1000).toISOString().replace("T", " ").slice(0, 19)} UTC`;
  body.append(el("p", { className: "meta" }, el("b", { className: run.state }, run.state),
    ` · ${run.target} · ${run.bench} · mode ${run.mode} · load ${run.load}${run.session === null ? "" : ` · session ${run.session}`}${started}`));
  const detail = details().runs[run.number];
  const command = el("code", {}, `isolbench show ${about.execution} ${run.name}`);
  if (!detail) {
    body.append(el("p", {}, "This page has too many runs to hold what each says of itself. It is in the folder, and here: ", command));
    return;
  }
  const { pool } = details();
  const reasons = reasonsOf(pool[detail.reasons]);
  if (reasons) body.append(reasons);
  const [curveHost, drawCurves] = curvesOf(detail.measured);
  const events = detail.events.map(eventsOf);
  if (curveHost) body.append(part("Percentiles", curveHost));
  if (detail.measured.length) body.append(numbersOf(detail.measured));
  if (detail.scalars && detail.scalars.length) body.append(rowsOf(detail.scalars));
  for (const { title, host, note } of events) body.append(part(title, host, el("p", { className: "caption" }, note)));
  const groups = el("div", { className: "groups" });
  for (const place of detail.groups) {
    const [title, rows] = pool[place];
    const name = title[0].toUpperCase() + title.slice(1);
    groups.append(title === "identity" ? el("section", {}, el("details", {}, el("summary", {}, name), rowsOf(rows))) : part(name, rowsOf(rows)));
  }
  body.append(groups, part("Log", logOf(detail.log)), el("p", { className: "note" }, "The same on a terminal: ", command));
  if (drawCurves) drawCurves();
  for (const { draw } of events) draw();
};

// The address leads to the run that is open; inside some frames it may not be changed.
const address = (url) => { try { history.replaceState(null, "", url); } catch { /* the page works without */ } };

// The runs that the table shows, in its order: previous and next go along them.
let shownRuns = [];
let current = null;
const openRun = (number) => {
  const run = runs()[number];
  current = number;
  if (shownRuns.length === 0) shownRuns = runs().map((each) => each.number);
  if (!dialog.open) dialog.showModal();
  fill(run);
  dialog.scrollTop = 0;
  dialog.querySelector(".body").scrollTop = 0;
  address(hashOf(run));
  const place = shownRuns.indexOf(number);
  byId("run-before").disabled = place <= 0;
  byId("run-after").disabled = place < 0 || place >= shownRuns.length - 1;
};
const step = (by) => openRun(shownRuns[shownRuns.indexOf(current) + by]);
byId("run-before").addEventListener("click", () => step(-1));
byId("run-after").addEventListener("click", () => step(1));
byId("run-close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  for (const host of dialog.querySelectorAll(".plot")) unmount(host);
  address(location.pathname + location.search);
});
const openByHash = () => {
  if (!location.hash.startsWith("#run=")) return;
  let wanted;
  try { wanted = decodeURIComponent(location.hash.slice(5)); } catch { return; }
  const run = runs().find((each) => `${each.target}/${each.name}` === wanted);
  if (run) openRun(run.number);
};
addEventListener("hashchange", openByHash);
