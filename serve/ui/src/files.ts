// Several files: one after the other to the endpoint, as a table that sorts.

import { Refusal, type Prediction } from "./api";
import { find, h } from "./dom";
import { fileName, formula, nameOf, number, type Row } from "./format";

export interface Entry {
  file: File;
  state: string; // what a person reads while there is no answer
  share: number | null; // of the file, sent so far
  prediction: Prediction | null;
  problem: Refusal | null;
}

type Key = "file" | "formula" | "known" | string; // else a target

let sorted: { key: Key; down: boolean } = { key: "", down: false };

export function rowsOf(entries: Entry[]): Row[] {
  return entries.map(({ file, prediction, problem }) => ({
    file: file.name,
    prediction,
    problem: problem ? `${problem.title}: ${problem.detail}` : "",
  }));
}

export function drawList(entries: Entry[], selected: Entry | null, onSelect: (entry: Entry) => void, tools: Node): void {
  const section = find("list");
  section.hidden = entries.length < 2;
  if (section.hidden) return;
  const active = document.activeElement?.getAttribute("data-focus");
  const done = entries.filter((e) => e.prediction || e.problem).length;
  const first = entries.find((e) => e.prediction)?.prediction;
  const properties = first?.predictions ?? [];
  const redraw = (): void => drawList(entries, selected, onSelect, tools);
  const heading = (key: Key, label: string, unit = "", kind = ""): HTMLElement => {
    const isKey = sorted.key === key;
    const flip = (): void => {
      sorted = { key, down: isKey && !sorted.down };
      redraw();
    };
    const order = isKey ? (sorted.down ? "descending" : "ascending") : "none";
    const arrow = h("span", { class: "arrow", "aria-hidden": "true" }, isKey ? (sorted.down ? "↓" : "↑") : "");
    // Before a number's label, so that label, unit and numbers end on one line.
    const parts = kind === "num" ? [arrow, label] : [label, arrow];
    const button = h("button", { class: "sort", click: flip, "data-focus": `sort-${key}` }, ...parts);
    return h("th", { scope: "col", "aria-sort": order, class: kind }, button, unit && h("small", {}, unit));
  };
  const head = h("tr", {}, heading("file", "File"), heading("formula", "Formula"));
  for (const p of properties) head.append(heading(p.target, nameOf(p.target), p.unit, "num"));
  head.append(heading("known", "Known to model", "", "last"));
  const body = h("tbody", {}, ...order(entries).map((entry) => row(entry, entry === selected, properties.length, onSelect)));
  section.replaceChildren(
    h("div", { class: "bar" }, h("h2", { id: "list-title" }, `${done} of ${entries.length} files`), tools),
    done < entries.length
      ? h("progress", { max: entries.length, value: done, "aria-label": "files answered" })
      : "",
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "list-title" }, h("table", {}, h("thead", {}, head), body)),
  );
  if (active) section.querySelector<HTMLElement>(`[data-focus="${CSS.escape(active)}"]`)?.focus();
}

function row(entry: Entry, isSelected: boolean, columns: number, onSelect: (entry: Entry) => void): HTMLElement {
  const { file, prediction, problem } = entry;
  const pick = h("button", { class: "pick", click: () => onSelect(entry), "data-focus": `file-${file.name}` }, fileName(file.name));
  const out = h("tr", { class: isSelected ? "selected" : "", "aria-current": isSelected || undefined }, h("th", { scope: "row" }, pick));
  if (prediction) {
    out.append(h("td", {}, formula(prediction.material.formula)));
    for (const p of prediction.predictions) {
      out.append(h("td", { class: "num" }, number(p.value), h("small", {}, `${number(p.lower)} to ${number(p.upper)}`)));
    }
    out.append(h("td", { class: "last" }, prediction.in_domain ? "yes" : h("span", { class: "warn", title: prediction.reasons.join("; ") }, "no")));
  } else if (problem) {
    out.append(h("td", { colspan: columns + 2, class: "bad" }, h("p", {}, h("strong", {}, problem.title), ": ", problem.detail)));
  } else {
    const share = entry.share === null ? "" : ` ${Math.round(100 * entry.share)} %`;
    out.append(h("td", { colspan: columns + 2, class: "quiet" }, entry.state + share));
  }
  return out;
}

function order(entries: Entry[]): Entry[] {
  const { key, down } = sorted;
  if (!key) return entries;
  const rank = (entry: Entry): string | number => {
    if (key === "file") return entry.file.name;
    if (!entry.prediction) return Number.NaN;
    if (key === "formula") return entry.prediction.material.formula;
    if (key === "known") return entry.prediction.in_domain ? 1 : 0;
    return entry.prediction.predictions.find((p) => p.target === key)?.value ?? Number.NaN;
  };
  const compare = (a: Entry, b: Entry): number => {
    const [x, y] = [rank(a), rank(b)];
    const [noX, noY] = [Number.isNaN(x), Number.isNaN(y)];
    if (noX || noY) return Number(noX) - Number(noY); // what has no value stays last
    const sign = typeof x === "string" && typeof y === "string" ? x.localeCompare(y, "en", { numeric: true }) : Number(x) - Number(y);
    return down ? -sign : sign;
  };
  return [...entries].sort(compare);
}
