// SPDX-License-Identifier: Apache-2.0
// Small multiples of a comparison: a plot for each mode with a line for each kernel and boot, and the other way round.

for (const holder of document.querySelectorAll(".multiples")) {
  const legendOf = (names) => el("div", { className: "legend" }, ...[...names].map(([name, slot]) => (
    el("span", {}, el("span", { className: `swatch s${slot}` }), name))));
  const panel = (title, lines, scale) => {
    const label = `Percentiles, ${holder.dataset.about}, ${title}; arrow keys move the cursor`;
    const host = el("div", { className: "plot", role: "application", "aria-roledescription": "plot", "aria-label": label });
    later(host, () => linePlot(host, {
      ...percentileSpec(lines, scale), small: true, thin: true, height: 190, sync: holder.id,
    }));
    return el("div", { className: "panel" }, el("h5", {}, title), host);
  };
  const add = (title, names, panels) => holder.append(
    el("h4", {}, title), legendOf(names), el("div", { className: "panels" }, ...panels));
  for (const group of read(`data-${holder.id}`)) {
    const boots = group.boots.map((boot) => ({ ...boot, of: figureOf(boot.figure) }));
    const { scale } = boots[0].of;
    const modes = new Map();
    for (const boot of boots) {
      for (const line of boot.of.lines) {
        if (!modes.has(line.name)) modes.set(line.name, { slot: line.slot, lines: [] });
        modes.get(line.name).lines.push({ ...line, name: boot.name, slot: boot.slot });
      }
    }
    add(`Load ${group.load}: a plot for each mode`, boots.map(({ name, slot }) => [name, slot]),
      [...modes].map(([mode, { lines }]) => panel(`${mode}, load ${group.load}`, lines, scale)));
    if (modes.size > 1) {
      add(`Load ${group.load}: a plot for each kernel and boot`, [...modes].map(([mode, { slot }]) => [mode, slot]),
        boots.map((boot) => panel(`${boot.name}, load ${group.load}`, boot.of.lines, scale)));
    }
  }
}
