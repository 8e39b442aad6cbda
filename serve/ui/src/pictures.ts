// The crystal's pictures: one in three dimensions, three cuts. Made once, shown with one crystal after another.

import type { View } from "./api";
import { errorText } from "./detail";
import { h } from "./dom";
import { colourOf, css } from "./elements";
import { number } from "./format";
import { densest, difference, type Grid, largest, quantile, unpack } from "./grid";
import { type Rgb, Scene, type Surface } from "./scene";
import { type Cut, drawCut, scaleOf } from "./slices";

type What = "original" | "reconstruction" | "difference";
const KINDS: What[] = ["original", "reconstruction", "difference"];
const LABELS: Record<What, string> = { original: "Original", reconstruction: "Reconstruction", difference: "Difference" };
const SURFACE: Rgb = [0.16, 0.55, 0.58];
const MORE: Rgb = [0.85, 0.42, 0.16];
const LESS: Rgb = [0.18, 0.45, 0.75];
const STEPS = 200;
const INSIDE = 0.85; // of the cell lies outside of the surface at first

export class Pictures {
  readonly viewer: HTMLElement;
  readonly slices: HTMLElement;
  private scene: Scene | null = null;
  private view: View | null = null;
  private grids: Partial<Record<What, Grid>> = {};
  private readonly canvas = h("div", {
    class: "scene", tabindex: 0, role: "img", "aria-label": "crystal", "aria-describedby": "scene-help",
  });
  private readonly what = choice("what", "Surface of", KINDS.map((w) => LABELS[w]), () => this.drawSurface());
  private readonly value = h("input", { type: "range", min: 0, max: STEPS, value: STEPS / 2, id: "isovalue", input: () => this.drawSurface() });
  private readonly valueText = h("output", { for: "isovalue" });
  private readonly atoms = h("input", { type: "checkbox", id: "atoms", checked: true, change: () => this.scene?.showAtoms(this.atoms.checked) });
  private readonly cell = h("input", { type: "checkbox", id: "cell", checked: true, change: () => this.scene?.showCell(this.cell.checked) });
  private readonly legend = h("ul", { class: "legend", "aria-label": "Elements" });
  private readonly axis = choice("axis", "Cut across", ["a", "b", "c"], () => this.drawSlices());
  private readonly depth = h("input", { type: "range", min: 0, max: 99, value: 0, id: "depth", input: () => this.drawSlices() });
  private readonly depthText = h("output", { for: "depth" });
  private readonly cuts = h("div", { class: "cuts" });
  private queued = 0;

  constructor() {
    this.viewer = h(
      "div",
      { class: "viewer" },
      this.canvas,
      this.legend,
      h(
        "div",
        { class: "controls" },
        this.what.element,
        h("div", { class: "field wide" }, h("label", { for: "isovalue" }, "Isovalue"), this.value, this.valueText),
        h("div", { class: "field" }, this.atoms, h("label", { for: "atoms" }, "Atoms"), this.cell, h("label", { for: "cell" }, "Unit cell")),
      ),
      h("p", { class: "fine", id: "scene-help" }, "Drag or use the arrow keys to turn, + and − to zoom, 0 to start again."),
    );
    this.slices = h(
      "section",
      { "aria-labelledby": "slices-title" },
      h("h3", { id: "slices-title" }, "Original and reconstruction"),
      h("div", { class: "controls" }, this.axis.element, h("div", { class: "field wide" }, h("label", { for: "depth" }, "Position"), this.depth, this.depthText)),
      this.cuts,
    );
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.drawSlices()).observe(this.cuts);
  }

  pause(): void {
    this.view = null;
  }

  show(view: View): void {
    this.view = view;
    const original = unpack(view.density);
    this.grids = { original };
    if (view.reconstruction) {
      this.grids.reconstruction = unpack(view.reconstruction);
      this.grids.difference = difference(this.grids.reconstruction, original);
    }
    this.what.allow(KINDS.map((w) => w in this.grids));
    this.what.set(0);
    this.value.value = String(Math.round(STEPS * shareOf(original, "original", quantile(original.values, INSIDE))));
    this.depth.value = String(Math.floor(100 * densest(original)));
    this.axis.set(0);
    this.canvas.setAttribute("aria-label", `${view.material.formula}: unit cell with ${view.atoms.length} atoms and a surface of equal density`);
    const elements = [...new Set(view.atoms.map((atom) => atom.element))];
    this.legend.replaceChildren(...elements.map((e) => h("li", {}, swatch(e), e)));
    this.layCuts(view);
    try {
      this.scene ??= new Scene(this.canvas);
      this.scene.show(view);
      this.scene.showAtoms(this.atoms.checked);
      this.scene.showCell(this.cell.checked);
      this.paint();
      this.drawSurface();
    } catch (error) {
      this.canvas.textContent = `This browser draws no WebGL: ${(error as Error).message}`;
    }
    this.drawSlices();
  }

  private paint(): void {
    const style = getComputedStyle(document.documentElement);
    this.scene?.paint(hex(style.getPropertyValue("--scene")), hex(style.getPropertyValue("--ink")));
  }

  // A slider may move faster than surfaces are made: only its last place counts.
  private drawSurface(): void {
    cancelAnimationFrame(this.queued);
    const what = KINDS[this.what.get()] ?? "original";
    const grid = this.grids[what];
    if (!grid) return;
    const value = isovalue(grid, what, Number(this.value.value) / STEPS);
    this.valueText.textContent = `${what === "difference" ? "±" : ""}${number(value)} e/Å³`;
    this.value.setAttribute("aria-valuetext", `${number(value)} electrons per cubic Angstrom`);
    const surfaces: Surface[] = what === "difference"
      ? [{ grid, value, colour: MORE }, { grid, value: -value, colour: LESS }]
      : [{ grid, value, colour: SURFACE }];
    this.queued = requestAnimationFrame(() => this.scene?.setSurfaces(surfaces));
  }

  private layCuts(view: View): void {
    const shown = KINDS.filter((w) => this.grids[w]);
    this.cuts.replaceChildren(
      ...shown.map((w) => {
        const grid = this.grids[w] as Grid;
        const top = number(this.scale(w, grid).top, 2);
        const scale = w === "difference" ? [whole(`±${top} e/Å³`)] : [whole(`0 to ${top} e/Å³`), " and more"];
        const note = w === "difference" ? errorText(view) : "";
        return h(
          "figure",
          {},
          h("canvas", { "data-what": w, role: "img", "aria-label": `${LABELS[w]}: cut through the density` }),
          h("figcaption", {}, h("strong", {}, LABELS[w]), h("span", {}, h("i", { class: `ramp ${w === "difference" ? "change" : ""}` }), ...scale), note && h("span", {}, note)),
        );
      }),
    );
    if (!view.reconstruction) this.cuts.append(h("p", { class: "quiet" }, "This model can’t decode its latents: there is no reconstruction."));
  }

  private drawSlices(): void {
    if (!this.view) return;
    const share = Number(this.depth.value) / 100;
    this.depthText.textContent = number(share, 2);
    for (const canvas of this.cuts.querySelectorAll("canvas")) {
      const what = canvas.dataset.what as What;
      const grid = this.grids[what];
      if (grid) drawCut(canvas, this.scale(what, grid), this.view.lattice, this.axis.get() as 0 | 1 | 2, share);
    }
  }

  // Original and reconstruction share a scale, or they could not be compared.
  private scale(what: What, grid: Grid): Cut {
    const own = scaleOf(grid, what === "difference");
    const original = this.grids.original;
    return what === "reconstruction" && original ? { ...own, top: scaleOf(original, false).top } : own;
  }
}

// The other way: where on the slider a value is.
function shareOf(grid: Grid, what: What, value: number): number {
  const [low, high] = ends(grid, what);
  return Math.max(0, Math.min(1, Math.log(value / low) / Math.log(high / low)));
}

// From nearly everything inside to the highest peaks alone, in equal ratios.
function isovalue(grid: Grid, what: What, share: number): number {
  const [low, high] = ends(grid, what);
  return low * (high / low) ** share;
}

function ends(grid: Grid, what: What): [number, number] {
  const high = 0.9 * largest(grid.values);
  return [what === "difference" ? 0.02 * high : Math.max(quantile(grid.values, 0.05), 1e-3 * high), high];
}

function whole(text: string): HTMLElement {
  return h("span", { class: "whole" }, text);
}

function hex(text: string): Rgb {
  const digits = text.trim().replace("#", "");
  return [0, 2, 4].map((i) => parseInt(digits.slice(i, i + 2), 16) / 255) as Rgb;
}

function swatch(element: string): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 10 10");
  svg.setAttribute("aria-hidden", "true");
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  for (const [name, value] of [["cx", "5"], ["cy", "5"], ["r", "4.4"], ["fill", css(colourOf(element))]] as const) dot.setAttribute(name, value);
  svg.append(dot);
  return svg;
}

interface Choice {
  element: HTMLElement;
  get(): number;
  set(position: number): void;
  allow(which: boolean[]): void;
}

// A row of radio buttons that looks like one control.
function choice(name: string, label: string, options: string[], onChange: () => void): Choice {
  const inputs = options.map((option, i) => h("input", { type: "radio", name, id: `${name}-${i}`, value: option, checked: i === 0, change: onChange }));
  const parts = inputs.map((input, i) => h("span", {}, input, h("label", { for: input.id }, options[i])));
  return {
    element: h("fieldset", { class: "choice" }, h("legend", {}, label), h("div", { class: "options" }, ...parts)),
    get: () => inputs.findIndex((input) => input.checked),
    set: (position) => inputs.forEach((input, i) => (input.checked = i === position)),
    allow: (which) => inputs.forEach((input, i) => (input.disabled = !which[i])),
  };
}
