// One crystal: what it is, its properties, its density, what is known nearby.

import { type Known, type Prediction, type Property, reconstruct, type View } from "./api";
import { find, h, save, say } from "./dom";
import { csv, fileName, formula, nameOf, number, percent, shortNameOf, stem } from "./format";
import { Pictures } from "./pictures";

export type State = "sending" | "computing";
const WAITING: Record<State, string> = { sending: "Sending", computing: "Reading the density and predicting" };

export class Detail {
  private readonly section = find("detail");
  private pictures: Pictures | null = null;

  clear(): void {
    this.section.hidden = true;
  }

  wait(file: File, state: State, share: number | null): void {
    this.section.hidden = false;
    this.pictures?.pause();
    const bar = h("progress", { "aria-label": state, max: 1, ...(share === null ? {} : { value: share }) });
    this.section.replaceChildren(
      h("div", { class: "waiting" }, named(file), h("p", { class: "quiet" }, WAITING[state], share ? ` ${Math.round(100 * share)} %` : ""), bar),
    );
  }

  fail(file: File, title: string, reason: string): void {
    this.section.hidden = false;
    this.section.replaceChildren(
      named(file),
      h("div", { class: "note bad", role: "alert" }, h("strong", {}, title), h("p", {}, reason)),
    );
    say(`${file.name}: ${title}. ${reason}`);
  }

  show(file: File, view: View): void {
    this.section.hidden = false;
    this.pictures ??= new Pictures();
    this.section.replaceChildren(
      heading(file, view),
      h("div", { class: "columns" }, this.pictures.viewer, numbers(file, view)),
      this.pictures.slices,
      nearest(view),
    );
    this.pictures.show(view);
    const said = view.predictions.map((p) => `${nameOf(p.target)} ${number(p.value)} ${p.unit}`).join(", ");
    say(`${view.material.formula}: ${said}. ${view.in_domain ? "" : "Outside of what the model knows."}`);
  }
}

function named(file: File): HTMLElement {
  return h("h2", { id: "detail-title", class: "file" }, fileName(file.name));
}

function heading(file: File, view: View): HTMLElement {
  const { material } = view;
  const facts = [
    view.space_group_number ? `${view.crystal_system}, space group ${view.space_group_number}` : "",
    `${material.n_atoms} ${material.n_atoms === 1 ? "atom" : "atoms"}`,
    `${number(material.volume)} Å³`,
    `${number(material.n_electrons, 4)} valence electrons`,
    material.density_kind === "dft" ? "DFT density" : "free atoms superposed",
  ];
  return h(
    "header",
    { class: "crystal" },
    h("h2", { id: "detail-title" }, formula(material.formula)),
    h("p", { class: "file" }, fileName(file.name)),
    h("ul", { class: "facts quiet" }, ...facts.filter(Boolean).map((fact) => h("li", {}, fact))),
  );
}

function numbers(file: File, view: View): HTMLElement {
  const seconds = Object.entries(view.seconds).map(([stage, value]) => `${stage} ${number(value, 2)}`);
  return h(
    "div",
    { class: "numbers" },
    table(view),
    domain(view),
    downloads(file, view),
    h("p", { class: "fine" }, `Model ${view.model.name} ${view.model.version}. Seconds: ${seconds.join(", ")}.`),
  );
}

function table(view: View): HTMLElement {
  const same = view.nearest.find((known) => known.distance < 1e-6);
  const row = (p: Property): HTMLElement => {
    const reference = same?.references.find((r) => r.target === p.target)?.value;
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, nameOf(p.target)),
      h("td", { class: "num value" }, number(p.value), " ", h("small", {}, p.unit)),
      h("td", { class: "num" }, h("span", { class: "range" }, `${number(p.lower)} to ${number(p.upper)}`), interval(p, reference)),
    );
  };
  const head = h("tr", {}, h("th", { scope: "col" }, "Property"), h("th", { scope: "col", class: "num" }, "Prediction"), h("th", { scope: "col", class: "num" }, "90 % interval"));
  const legend = same
    ? h("p", { class: "fine" }, h("i", { class: "tick", "aria-hidden": "true" }), ` reference of ${same.formula} (${same.material_id}), see below`)
    : null;
  return h("div", {}, h("table", { class: "properties" }, h("caption", { class: "sr" }, "Predicted properties"), h("thead", {}, head), h("tbody", {}, ...view.predictions.map(row))), legend);
}

// The interval as a bar on a scale of its own, with the prediction as a dot and a known value as a tick.
function interval(p: Property, reference: number | undefined): SVGSVGElement {
  const ends = [p.lower, p.upper, p.value, ...(reference === undefined ? [] : [reference])];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const at = (x: number): number => 4 + (132 * (x - low)) / (high - low || 1);
  const svg = svgElement("svg", { viewBox: "0 0 140 12", class: "interval", "aria-hidden": "true" });
  svg.append(svgElement("line", { x1: at(p.lower), x2: at(p.upper), y1: 6, y2: 6, class: "span" }));
  if (reference !== undefined) svg.append(svgElement("line", { x1: at(reference), x2: at(reference), y1: 1, y2: 11, class: "known" }));
  svg.append(svgElement("circle", { cx: at(p.value), cy: 6, r: 3.4 }));
  return svg;
}

function svgElement<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Record<string, string | number>): SVGElementTagNameMap[K] {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

function domain(view: Prediction): HTMLElement {
  if (view.in_domain) return h("div", { class: "note good" }, h("strong", {}, "Known territory. "), "The model was trained on crystals like this one.");
  return h(
    "div",
    { class: "note warn" },
    h("strong", {}, "Outside of what the model knows"),
    h("ul", {}, ...view.reasons.map((reason) => h("li", {}, reason))),
  );
}

function downloads(file: File, view: View): HTMLElement {
  const name = stem(file.name);
  const { density: _d, reconstruction: _r, ...rest } = view;
  const json = h("button", { class: "button", click: () => save(`${name}.json`, JSON.stringify(rest, null, 1), "application/json") }, "JSON");
  const table = h("button", { class: "button", click: () => save(`${name}.csv`, csv([{ file: file.name, prediction: view, problem: "" }]), "text/csv") }, "CSV");
  const chgcar = h("button", { class: "button" }, "CHGCAR, reconstructed");
  chgcar.addEventListener("click", async () => {
    chgcar.disabled = true;
    try {
      save(`${name}_reconstructed_CHGCAR`, await reconstruct(file), "application/octet-stream");
    } catch (error) {
      say(`No CHGCAR: ${(error as Error).message}`);
    } finally {
      chgcar.disabled = false;
    }
  });
  return h("div", { class: "downloads", role: "group", "aria-label": "Download" }, h("span", { class: "quiet" }, "Download"), json, table, view.reconstruction ? chgcar : null);
}

function nearest(view: View): HTMLElement {
  const targets = [...new Set(view.nearest.flatMap((known) => known.references.map((r) => r.target)))];
  const unit = (t: string): string => view.nearest.flatMap((k) => k.references).find((r) => r.target === t)?.unit ?? "";
  const head = h("tr", {}, ...["Compound", "Symmetry"].map((label) => h("th", { scope: "col" }, label)), h("th", { scope: "col", class: "num" }, "Distance"));
  for (const t of targets) head.append(h("th", { scope: "col", class: "num" }, h("abbr", { title: nameOf(t) }, shortNameOf(t)), " ", h("small", {}, unit(t))));
  const row = (known: Known): HTMLElement => {
    const cells = targets.map((t) => {
      const found = known.references.find((r) => r.target === t);
      return h("td", { class: "num" }, found ? number(found.value) : "");
    });
    const distance = known.distance < 1e-6 ? "same formula" : number(known.distance, 2);
    return h("tr", {}, h("th", { scope: "row" }, formula(known.formula), " ", h("small", {}, known.material_id)), h("td", {}, `${known.crystal_system}, ${known.space_group_number}`), h("td", { class: "num" }, distance), ...cells);
  };
  return h(
    "section",
    { "aria-labelledby": "nearest-title" },
    h("h3", { id: "nearest-title" }, "Known compounds nearby"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "nearest-title" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...view.nearest.map(row)))),
    h("p", { class: "fine" }, `Reference values: ${view.nearest[0]?.source ?? "none"}. Distance: how far atoms have to move along the Pettifor scale, on average.`),
  );
}

export function errorText(view: View): string {
  return view.density_error === null ? "" : `${percent(view.density_error)} of the charge is misplaced`;
}
