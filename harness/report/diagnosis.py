# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` measured, on a terminal and as JSON: causes, what to do about them, before beside after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..advice import Remedy, explain
from ..stats.causes import Side, summed
from ..stats.diagnosis import Complaint, Diagnosis, changes, in_effect, parameters, treatments
from .grouping import compact
from .remedies import WHOSE, counted, documentation
from .units import duration, plural, printable, setting, three_digits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: So many are shown one by one; the rest is summed, and --json has it all.
SHOWN_CAUSES, SHOWN_TREATMENTS = 8, 8
#: What is about less of the stolen time is not shown, unless all is.
LEAST_SHARE, SHOWN_AT_LEAST = 0.005, 3
_LEVELS = {
    "tracepoints": "causes by tracepoints",
    "software": "causes by software events alone (an interrupt has no name then)",
    "nothing": "causes could not be had",
}


# ---- one diagnosis


def print_diagnosis(found: Diagnosis, advice: str, out: Console, *notes: str) -> None:
    """``advice``: what would raise the level of attribution; empty where it is the best. ``notes`` follow."""
    from rich.text import Text

    cpu = "any CPU" if found.cpu is None else f"CPU {found.cpu}"
    head = f"{found.target}: {cpu}, mode {found.mode}, {three_digits(found.seconds)} s of gap, "
    out.print(Text(printable(head + _LEVELS.get(found.level, found.level)), style="bold"))
    print_line(_how_quiet(found), out)
    if found.state != "valid":
        print_reasons(found.state, found.reasons, out)
    for line in [*_how_sure(found, advice), *notes]:
        print_line(line, out)
    if found.complaints:
        out.print(_causes(found))
        _print_treatments(found, out)


def print_line(line: str, out: Console, style: str = "", indent: int = 2) -> None:
    """Indented, on as many lines as it takes."""
    from rich.padding import Padding
    from rich.text import Text

    out.print(Padding(Text(printable(line), style=style), (0, 0, 0, indent), expand=False))


def print_reasons(what: str, reasons: Sequence[str], out: Console) -> None:
    """``what: reason``; of several each on lines of its own."""
    if len(reasons) == 1:
        print_line(f"{what}: {compact(reasons[0])}", out)
        return
    print_line(f"{what}:", out)
    for reason in reasons:
        print_line(compact(reason), out, indent=4)


def print_to_copy(what: str, line: str, out: Console) -> None:
    """``line`` on one line, however narrow the terminal is."""
    from rich.text import Text

    print_line(f"{what}:", out)
    out.print(Text(f"    {printable(line)}", style="bold"), soft_wrap=True)


def _how_quiet(found: Diagnosis) -> str:
    least = setting(found.threshold_ns)
    if not found.count:
        at_most = "" if found.at_most_hz is None else f": at most {three_digits(found.at_most_hz)} a second (95 %)"
        return f"quiet: nothing of {least} or longer in {three_digits(found.seconds)} s{at_most}"
    return (
        f"{plural(found.count, 'gap')} of {least} and more, {three_digits(found.rate_hz(found.count))} a second; they "
        f"took {duration(found.per_s(found.stolen_ns))} of each second"
    )


def _how_sure(found: Diagnosis, advice: str) -> Iterable[str]:
    if found.level == "tracepoints" and found.causes.scopes and "cpu" not in found.causes.scopes:
        yield "seen was what happened to the task, on whatever CPU; in a pinned mode all that its CPU does is seen"
    if found.level != "tracepoints":
        yield f"no more than that: {'; '.join(found.causes.reasons) or 'the probe does not say why'}"
        if advice:
            yield f"advice: {advice}"


def _causes(found: Diagnosis) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="italic")
    table.add_column("  #", justify="right")
    table.add_column("cause", ratio=1, overflow="fold")
    for name in ("times/s", "stolen/s", "share", "longest"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, each in enumerate(found.complaints[:SHOWN_CAUSES], 1):
        table.add_row(Text(f"{number}", style="bold"), _named(each), *_figures(found, each))
    if rest := found.complaints[SHOWN_CAUSES:]:
        summed = Complaint(
            "",
            sum(each.count for each in rest),
            sum(each.stolen_ns for each in rest),
            max(each.max_ns for each in rest),
            (),
        )
        table.add_row("", Text(f"{len(rest)} more"), *_figures(found, summed))
    return table


def _named(each: Complaint) -> Text:
    from rich.text import Text

    lines = [explain(each.name), *_trail(each)]
    return Text.assemble((printable(each.name), "bold"), *(("\n" + printable(line), "italic") for line in lines))


def _trail(each: Complaint) -> Iterable[str]:
    """Who sent it, and why the tick stays on, as far as gaps say."""
    if each.trail.senders:
        yield f"sent by {counted(each.trail.senders)}"
    for label, times in each.trail.ticks[:1]:
        yield f"{explain(label)} ({label}, {plural(times, 'time')})"


def _figures(found: Diagnosis, each: Complaint) -> tuple[str, ...]:
    return (
        three_digits(found.rate_hz(each.count)),
        duration(found.per_s(each.stolen_ns)),
        f"{100 * found.share(each.stolen_ns):.1f} %",
        duration(each.max_ns),
    )


def _print_treatments(found: Diagnosis, out: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    made = treatments(found)
    worth = [each for each in made[:SHOWN_TREATMENTS] if each.share >= LEAST_SHARE] or made[:SHOWN_AT_LEAST]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for each in worth:
        table.add_row(
            Text(f"  {_percent(each.share)}", style="bold"),
            Text.assemble(
                printable(each.remedy.text),
                "\n",
                (
                    printable(
                        f"{_state(each.remedy, found)}; for {_numbers(each.numbers)}; {documentation(each.remedy.doc)}"
                    ),
                    "italic",
                ),
            ),
        )
    if made:
        print_line("what to do, and the share of the stolen time that it is about:", out, "bold")
        out.print(table)
    if len(made) > len(worth):
        print_line(f"{len(made) - len(worth)} more: --json has all", out)
    if there := [each for each in in_effect(found) if each.kind not in WHOSE]:
        print_line(f"in effect already: {', '.join(_short(each) for each in there)}", out)


def _percent(share: float) -> str:
    return "<1 %" if share < 0.005 else f"{100 * share:.0f} %"


def _state(remedy: Remedy, found: Diagnosis) -> str:
    """``remedy`` is not in effect, or nobody knows."""
    if remedy.in_effect is None:
        return WHOSE.get(remedy.kind, "not known whether it is so")
    tried = found.knobs.get(remedy.knob or "")
    if isinstance(tried, Mapping):
        return f"{remedy.knob}: tried, and not in effect: {compact(str(tried.get('reason')))}"
    return f"not in effect: tune: [{remedy.knob}]" if remedy.knob else "not in effect"


def _numbers(numbers: Sequence[int]) -> str:
    """``causes 1-3, 5``; those that are summed have no numbers."""
    shown = [number for number in numbers if number <= SHOWN_CAUSES]
    parts: list[list[int]] = []
    for number in shown:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    said = ", ".join(f"{each[0]}-{each[-1]}" if len(each) > 1 else f"{each[0]}" for each in parts)
    more = " and more" if len(shown) < len(numbers) else ""
    return f"{'causes' if len(shown) > 1 else 'cause'} {said}{more}" if shown else "rare causes"


def _short(remedy: Remedy) -> str:
    return remedy.knob or remedy.text.partition(":")[0].removeprefix("boot with ").partition(",")[0]


# ---- before and after


def print_changes(before: Diagnosis, after: Diagnosis, out: Console) -> None:
    """Per cause what it took of a second, and how often it came; last the whole."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="italic")
    table.add_column("\n  cause", ratio=1, overflow="fold")
    for name in ("stolen/s\nbefore", "\nafter", "\nchange", "times/s\nbefore", "\nafter"):
        table.add_column(name, justify="right", no_wrap=True)
    every = changes(before, after)
    for each in every[:SHOWN_CAUSES]:
        table.add_row(Text(f"  {printable(each.name)}"), *_sides(each.before, each.after))
    if rest := every[SHOWN_CAUSES:]:
        table.add_row(
            Text(f"  {len(rest)} more"),
            *_sides(summed(each.before for each in rest), summed(each.after for each in rest)),
        )
    table.add_row(Text("  all gaps", style="bold"), *_sides(_whole(before), _whole(after)))
    out.print(table)


def _whole(found: Diagnosis) -> Side:
    return Side(found.count, found.per_s(found.stolen_ns), found.rate_hz(found.count), 0)


def _sides(before: Side, after: Side) -> tuple[str, ...]:
    change = f"{100 * (after.per_s / before.per_s - 1):+.0f} %" if before.per_s else "new" if after.per_s else "-"
    taken = (duration(side.per_s) for side in (before, after))
    return (
        *taken,
        "gone" if before.per_s and not after.per_s else change,
        *(three_digits(s.rate_hz) for s in (before, after)),
    )


# ---- how to keep it


def tune_line(knobs: Sequence[str]) -> str:
    """For a campaign file."""
    return f"tune: [{', '.join(knobs)}]"


def boots_line(found: Diagnosis) -> str:
    """For an inventory; empty where a boot would change nothing that was found."""
    words = parameters(found)
    return f'boots: {{quiet: {{add: "{" ".join(words)}"}}}}' if words else ""


def command_line(found: Diagnosis) -> str:
    """The same for whoever edits a boot loader's file: with the CPU that was measured."""
    return " ".join(parameters(found)).replace("{isolated}", str(found.cpu if found.cpu is not None else "CPU"))
