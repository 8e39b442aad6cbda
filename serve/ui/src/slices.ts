// Cuts through a density, drawn in the true shape of the cell.

import { type Grid, largest, type Plane, planeAxes, quantile, slice } from "./grid";

type Stop = [number, number, number];

// Lightness runs one way in the first, and both ways from the middle in the second, so that both survive without hue.
const DENSITY: Stop[] = [[13, 22, 48], [22, 74, 102], [33, 126, 120], [121, 176, 104], [232, 206, 116], [255, 246, 214]];
const CHANGE: Stop[] = [[21, 73, 130], [96, 150, 198], [245, 244, 240], [222, 142, 84], [150, 58, 18]];

export interface Cut {
  grid: Grid;
  isChange: boolean;
  top: number; // the value at the end of the scale
}

export function scaleOf(grid: Grid, isChange: boolean): Cut {
  // Cores are a hundred times denser than bonds: the scale ends before them.
  return { grid, isChange, top: (isChange ? largest(grid.values) : quantile(grid.values, 0.985)) || 1 };
}

export function drawCut(canvas: HTMLCanvasElement, cut: Cut, lattice: number[][], axis: 0 | 1 | 2, share: number): void {
  const index = Math.min(cut.grid.shape[axis] - 1, Math.floor(share * cut.grid.shape[axis]));
  const plane = slice(cut.grid, axis, index);
  const source = pixels(plane, cut);
  const [u, v] = planeAxes(axis);
  const [along, across, slant] = inPlane(lattice[u] ?? [], lattice[v] ?? []);
  const left = Math.min(0, slant);
  const width = along + Math.abs(slant);
  const ratio = Math.min(2, devicePixelRatio || 1);
  const size = Math.round((canvas.parentElement?.clientWidth || 300) * ratio);
  const scale = size / width;
  canvas.width = size;
  canvas.height = Math.max(1, Math.round(across * scale));
  const context = canvas.getContext("2d");
  if (!context) return;
  context.imageSmoothingQuality = "high";
  // Columns go along one lattice vector, rows along the other; the page's y axis points down.
  context.setTransform(
    (along / plane.width) * scale,
    0,
    (slant / plane.height) * scale,
    -(across / plane.height) * scale,
    -left * scale,
    across * scale,
  );
  context.drawImage(source, 0, 0);
}

// Lengths of u, of v across u, and of v along u.
function inPlane(u: number[], v: number[]): [number, number, number] {
  const dot = (a: number[], b: number[]): number => a.reduce((sum, x, i) => sum + x * (b[i] ?? 0), 0);
  const along = Math.sqrt(dot(u, u));
  const slant = dot(u, v) / along;
  return [along, Math.sqrt(Math.max(dot(v, v) - slant * slant, 1e-6)), slant];
}

function pixels(plane: Plane, { isChange, top }: Cut): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = plane.width;
  canvas.height = plane.height;
  const context = canvas.getContext("2d");
  const image = new ImageData(plane.width, plane.height);
  plane.values.forEach((value, i) => image.data.set([...colour(place(value, top, isChange), isChange), 255], 4 * i));
  context?.putImageData(image, 0, 0);
  return canvas;
}

// Where on the scale a value lies, 0 to 1; densities by their square root, so that bonds show beside cores.
function place(value: number, top: number, isChange: boolean): number {
  const share = value / top;
  return isChange ? 0.5 + 0.5 * Math.max(-1, Math.min(1, share)) : Math.sqrt(Math.max(0, Math.min(1, share)));
}

function colour(at: number, isChange: boolean): Stop {
  const stops = isChange ? CHANGE : DENSITY;
  const x = at * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(x));
  const [from, to] = [stops[i], stops[i + 1]] as [Stop, Stop];
  return [0, 1, 2].map((k) => (from[k] ?? 0) + (x - i) * ((to[k] ?? 0) - (from[k] ?? 0))) as Stop;
}
