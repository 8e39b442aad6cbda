// A density on a periodic grid: unpacked, compared, cut.

import type { PackedGrid } from "./api";

export interface Grid {
  shape: [number, number, number];
  values: Float32Array; // the last axis runs fastest
}

export function unpack(packed: PackedGrid): Grid {
  const text = atob(packed.values);
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  return { shape: packed.shape, values: new Float32Array(bytes.buffer) };
}

export function difference(a: Grid, b: Grid): Grid {
  return { shape: a.shape, values: a.values.map((value, i) => value - (b.values[i] ?? 0)) };
}

export function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

// The value below which a share of all points lies.
export function quantile(values: Float32Array, share: number): number {
  const sorted = Float32Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

// Where along the first axis the densest point lies, in units of the cell.
export function densest(grid: Grid): number {
  let best = 0;
  grid.values.forEach((value, i) => {
    if (value > (grid.values[best] ?? 0)) best = i;
  });
  return Math.floor(best / (grid.shape[1] * grid.shape[2])) / grid.shape[0];
}

export interface Plane {
  width: number;
  height: number;
  values: Float32Array; // row by row
}

// The plane across one axis; its columns run along the next axis, its rows along the one after.
export function slice(grid: Grid, axis: 0 | 1 | 2, index: number): Plane {
  const [u, v] = planeAxes(axis);
  const steps = [grid.shape[1] * grid.shape[2], grid.shape[2], 1] as const;
  const width = grid.shape[u];
  const height = grid.shape[v];
  const values = new Float32Array(width * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const at = index * steps[axis] + column * steps[u] + row * steps[v];
      values[row * width + column] = grid.values[at] ?? 0;
    }
  }
  return { width, height, values };
}

export function planeAxes(axis: 0 | 1 | 2): [0 | 1 | 2, 0 | 1 | 2] {
  return axis === 0 ? [1, 2] : axis === 1 ? [2, 0] : [0, 1];
}
