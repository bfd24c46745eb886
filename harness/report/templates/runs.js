// SPDX-License-Identifier: Apache-2.0
// The table of all runs: it sorts by every column, filters by words and states, and shows a page of rows at a time, so
// that ten thousand runs cost no more to look at than fifty.

const PER_PAGE = 50;
const list = byId("runs");
const everyColumn = [
  { name: "target", of: (run) => run.target, left: true },
  { name: "bench", of: (run) => run.bench, left: true },
  { name: "mode", of: (run) => run.mode, left: true },
  { name: "load", of: (run) => run.load, left: true },
  { name: "run", of: (run) => run.repeat, show: (run) => el("a", { href: hashOf(run) }, `${run.repeat}`), about: "number of the run in its cell" },
  { name: "state", of: (run) => STATES.indexOf(run.state), left: true,
    show: (run) => el("span", { className: run.state }, run.state, run.rules ? el("small", {}, run.rules) : null) },
  ...about.columns.map((level, place) => ({ name: level, of: (run) => (run.levels[place] < 0 ? Infinity : run.levels[place]),
    show: (run) => (run.levels[place] < 0 ? "missed" : time(run.levels[place])) })),
  { name: "max", of: (run) => run.max, show: (run) => time(run.max) },
  { name: "events/s", of: (run) => run.rate, show: (run) => (run.rate === null ? "–" : threeDigits(run.rate)) },
  { name: "missed", dull: true, of: (run) => run.missed, show: (run) => (run.missed ? run.missed.toLocaleString("en") : "–") },
  { name: "session", dull: true, of: (run) => run.session, show: (run) => run.session ?? "–" },
  { name: "started", of: (run) => run.started,
    show: (run) => (run.started === null ? "–" : new Date(run.started * 1000).toISOString().replace("T", " ").slice(0, 19)) },
];

if (list) {
  const every = once(() => runs().map((run) => ({
    run, text: [run.target, run.bench, run.mode, run.load, run.state, run.rules, run.name].join(" ").toLowerCase(),
  })));
  // What says the same of every run is left out, where a column may be.
  const columns = once(() => everyColumn.filter(({ dull, of }) => !dull || new Set(runs().map(of)).size > 1));
  const states = new Set(STATES);
  const body = list.querySelector("tbody");
  const words = byId("runs-words");
  const said = byId("runs-said");
  let sorted = null; // [column, 1 or -1]
  let page = 0;

  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const chosen = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = every().filter(({ run, text }) => states.has(run.state) && wanted.every((word) => text.includes(word)));
    if (sorted) {
      const [{ of }, way] = sorted;
      found.sort(({ run: a }, { run: b }) => {
        const [left, right] = [of(a), of(b)];
        if (left === null || right === null) return (left === null) - (right === null); // unknown: always last
        return way * compare(left, right) || a.number - b.number;
      });
    }
    return found.map(({ run }) => run);
  };
  const draw = () => {
    const found = chosen();
    shownRuns = found.map((run) => run.number);
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(page, pages - 1);
    const first = page * PER_PAGE;
    body.replaceChildren(...found.slice(first, first + PER_PAGE).map((run, place) => el("tr",
      { "aria-rowindex": String(first + place + 2), onclick: () => { if (!String(getSelection())) openRun(run.number); } },
      ...columns().map(({ of, show, left }) => el("td", { className: left ? "left" : "" }, show ? show(run) : of(run))))));
    const many = (number) => number.toLocaleString("en");
    said.textContent = found.length === 0 ? "No run is like that."
      : `${many(first + 1)}–${many(Math.min(found.length, first + PER_PAGE))} of ${many(found.length)} ${found.length === every().length ? "runs and attempts" : `chosen, of ${many(every().length)}`}`;
    list.querySelector("table").setAttribute("aria-rowcount", String(found.length + 1));
    byId("runs-before").disabled = page === 0;
    byId("runs-after").disabled = page >= pages - 1;
  };
  const again = () => { page = 0; draw(); };

  const makeHead = () => {
    const head = list.querySelector("thead tr");
    for (const column of columns()) {
      const sort = () => {
        const way = sorted && sorted[0] === column ? -sorted[1] : 1;
        sorted = [column, way];
        for (const each of head.children) each.setAttribute("aria-sort", "none");
        th.setAttribute("aria-sort", way === 1 ? "ascending" : "descending");
        again();
      };
      const th = el("th", { scope: "col", "aria-sort": "none", className: column.left ? "left" : "" },
        el("button", { type: "button", title: column.about, onclick: sort }, column.name));
      head.append(th);
    }
  };
  for (const chip of list.querySelectorAll(".chips button")) {
    const { state } = chip.dataset;
    chip.addEventListener("click", () => {
      const on = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", String(on));
      if (on) states.add(state); else states.delete(state);
      again();
    });
  }
  words.addEventListener("input", again);
  byId("runs-before").addEventListener("click", () => { page--; draw(); });
  byId("runs-after").addEventListener("click", () => { page++; draw(); });
  list.querySelector(".tool").hidden = false;
  later(list.querySelector(".tool"), () => { makeHead(); draw(); });
}
openByHash();
for (const each of document.querySelectorAll("[data-scripted]")) each.hidden = false;
