// The crystal in three dimensions: unit cell, atoms, isosurfaces of a density.

import "@kitware/vtk.js/Rendering/Profiles/Geometry";
import vtkDataArray from "@kitware/vtk.js/Common/Core/DataArray";
import vtkImageData from "@kitware/vtk.js/Common/DataModel/ImageData";
import vtkPolyData from "@kitware/vtk.js/Common/DataModel/PolyData";
import vtkImageMarchingCubes from "@kitware/vtk.js/Filters/General/ImageMarchingCubes";
import vtkSphereSource from "@kitware/vtk.js/Filters/Sources/SphereSource";
import vtkActor from "@kitware/vtk.js/Rendering/Core/Actor";
import vtkMapper from "@kitware/vtk.js/Rendering/Core/Mapper";
import vtkGenericRenderWindow from "@kitware/vtk.js/Rendering/Misc/GenericRenderWindow";

import type { View } from "./api";
import { colourOf } from "./elements";
import type { Grid } from "./grid";

type Vector = [number, number, number];
export type Rgb = [number, number, number];

export interface Surface {
  grid: Grid;
  value: number;
  colour: Rgb;
}

const NEAR = 0.02; // of a cell's edge: an atom this close to a face is drawn on the opposite one too
const ATOM_SCALE = 0.36;
const MOST_ATOMS = 400;

export class Scene {
  private readonly window = vtkGenericRenderWindow.newInstance({ background: [1, 1, 1], listenWindowResize: false });
  private readonly renderer = this.window.getRenderer();
  private atoms: vtkActor[] = [];
  private cell: vtkActor | null = null;
  private surfaces: vtkActor[] = [];
  private lattice: number[][] = [];

  constructor(container: HTMLElement) {
    this.window.setContainer(container);
    this.window.resize();
    new ResizeObserver(() => {
      this.window.resize();
      this.draw();
    }).observe(container);
    container.addEventListener("keydown", (event) => this.steer(event), { capture: true });
  }

  show(view: View): void {
    this.lattice = view.lattice;
    for (const actor of [...this.atoms, ...this.surfaces]) this.renderer.removeActor(actor);
    if (this.cell) this.renderer.removeActor(this.cell);
    this.surfaces = [];
    this.atoms = sites(view).map(({ element, position, radius }) => this.sphere(element, position, radius));
    this.cell = this.box();
    this.renderer.addActor(this.cell);
    this.aim();
  }

  // Look along b, a little from above and from the side.
  aim(): void {
    const camera = this.renderer.getActiveCamera();
    const centre = this.cartesian([0.5, 0.5, 0.5]);
    camera.setFocalPoint(...centre);
    camera.setPosition(centre[0] + 0.55, centre[1] - 1, centre[2] + 0.38);
    camera.setViewUp(0, 0, 1);
    this.renderer.resetCamera();
    camera.zoom(1.15);
    this.draw();
  }

  paint(background: Rgb, ink: Rgb): void {
    this.renderer.setBackground(...background);
    this.cell?.getProperty().setColor(...ink);
    this.draw();
  }

  showAtoms(on: boolean): void {
    for (const actor of this.atoms) actor.setVisibility(on);
    this.draw();
  }

  showCell(on: boolean): void {
    this.cell?.setVisibility(on);
    this.draw();
  }

  setSurfaces(surfaces: Surface[]): void {
    for (const actor of this.surfaces) {
      this.renderer.removeActor(actor);
      actor.delete();
    }
    this.surfaces = surfaces.map((surface) => this.surface(surface));
    this.draw();
  }

  draw(): void {
    this.renderer.resetCameraClippingRange();
    this.window.getRenderWindow().render();
  }

  // Arrow keys turn the crystal, plus and minus bring it nearer, 0 looks from the start again.
  private steer(event: KeyboardEvent): void {
    const camera = this.renderer.getActiveCamera();
    const moves: Record<string, () => void> = {
      ArrowLeft: () => camera.azimuth(10),
      ArrowRight: () => camera.azimuth(-10),
      ArrowUp: () => camera.elevation(-10),
      ArrowDown: () => camera.elevation(10),
      "+": () => camera.zoom(1.1),
      "-": () => camera.zoom(1 / 1.1),
      "0": () => this.aim(),
    };
    const move = moves[event.key];
    if (event.key !== "Tab" && !event.ctrlKey && !event.metaKey) event.stopPropagation(); // vtk.js has keys of its own
    if (!move) return;
    event.preventDefault();
    move();
    camera.orthogonalizeViewUp();
    this.draw();
  }

  private cartesian(f: Vector): Vector {
    const [a, b, c] = this.lattice as [number[], number[], number[]];
    const along = (i: number) => f[0] * (a[i] ?? 0) + f[1] * (b[i] ?? 0) + f[2] * (c[i] ?? 0);
    return [along(0), along(1), along(2)];
  }

  private sphere(element: string, position: Vector, radius: number): vtkActor {
    const source = vtkSphereSource.newInstance({ radius: ATOM_SCALE * radius, thetaResolution: 28, phiResolution: 20 });
    const mapper = vtkMapper.newInstance();
    mapper.setInputConnection(source.getOutputPort());
    const actor = vtkActor.newInstance();
    actor.setMapper(mapper);
    actor.setPosition(...this.cartesian(position));
    const property = actor.getProperty();
    property.setColor(...colourOf(element));
    property.setSpecular(0.12);
    property.setSpecularPower(20);
    property.setAmbient(0.15);
    this.renderer.addActor(actor);
    return actor;
  }

  private box(): vtkActor {
    const corners: number[] = [];
    const edges: number[] = [];
    for (let corner = 0; corner < 8; corner++) {
      const f: Vector = [corner & 1, (corner >> 1) & 1, (corner >> 2) & 1];
      corners.push(...this.cartesian(f));
      for (const bit of [1, 2, 4]) if (!(corner & bit)) edges.push(2, corner, corner | bit);
    }
    const data = vtkPolyData.newInstance();
    data.getPoints().setData(Float32Array.from(corners), 3);
    data.getLines().setData(Uint32Array.from(edges));
    const mapper = vtkMapper.newInstance({ scalarVisibility: false });
    mapper.setInputData(data);
    const actor = vtkActor.newInstance();
    actor.setMapper(mapper);
    actor.getProperty().setLighting(false);
    actor.getProperty().setLineWidth(1.4);
    return actor;
  }

  private surface({ grid, value, colour }: Surface): vtkActor {
    const cubes = vtkImageMarchingCubes.newInstance({ contourValue: value, computeNormals: true, mergePoints: true });
    cubes.setInputData(image(grid));
    const data = cubes.getOutputData();
    this.straighten(data, value < 0 ? -1 : 1);
    const mapper = vtkMapper.newInstance({ scalarVisibility: false });
    mapper.setInputData(data);
    const actor = vtkActor.newInstance();
    actor.setMapper(mapper);
    const property = actor.getProperty();
    property.setColor(...colour);
    property.setOpacity(0.62);
    property.setSpecular(0.35);
    property.setSpecularPower(30);
    property.setAmbient(0.12);
    this.renderer.addActor(actor);
    return actor;
  }

  // From units of the lattice vectors to Angstrom: points by the lattice, gradients by its inverse.
  private straighten(data: vtkPolyData, sign: number): void {
    const points = data.getPoints().getData() as Float32Array;
    const normals = data.getPointData().getNormals()?.getData() as Float32Array | undefined;
    const [a, b, c] = this.lattice as [Vector, Vector, Vector];
    const rows = [cross(b, c), cross(c, a), cross(a, b)] as [Vector, Vector, Vector]; // inverse, up to its determinant
    for (let i = 0; i < points.length; i += 3) {
      points.set(this.cartesian([points[i] ?? 0, points[i + 1] ?? 0, points[i + 2] ?? 0]), i);
      if (!normals) continue;
      const g: Vector = [normals[i] ?? 0, normals[i + 1] ?? 0, normals[i + 2] ?? 0];
      const n = [0, 1, 2].map((j) => sign * rows.reduce((sum, row, k) => sum + (g[k] ?? 0) * (row[j] ?? 0), 0));
      const length = Math.hypot(...n) || 1;
      normals.set(n.map((x) => x / length), i);
    }
    data.modified();
  }
}

// The grid with its first points repeated behind its last: a crystal goes on there.
function image(grid: Grid): vtkImageData {
  const [na, nb, nc] = grid.shape;
  const values = new Float32Array((na + 1) * (nb + 1) * (nc + 1));
  let at = 0;
  for (let k = 0; k <= nc; k++) {
    for (let j = 0; j <= nb; j++) {
      for (let i = 0; i <= na; i++) {
        values[at++] = grid.values[((i % na) * nb + (j % nb)) * nc + (k % nc)] ?? 0; // the first axis runs fastest here
      }
    }
  }
  const out = vtkImageData.newInstance();
  out.setDimensions([na + 1, nb + 1, nc + 1]);
  out.setSpacing([1 / na, 1 / nb, 1 / nc]);
  out.getPointData().setScalars(vtkDataArray.newInstance({ values, numberOfComponents: 1, name: "rho" }));
  return out;
}

function sites(view: View): View["atoms"] {
  const out: View["atoms"] = [];
  for (const atom of view.atoms) {
    const places = atom.position.map((x) => (x < NEAR ? [x, x + 1] : x > 1 - NEAR ? [x - 1, x] : [x]));
    for (const a of places[0] ?? []) {
      for (const b of places[1] ?? []) {
        for (const c of places[2] ?? []) out.push({ ...atom, position: [a, b, c] });
      }
    }
  }
  return out.length > MOST_ATOMS ? view.atoms : out;
}

function cross(u: Vector, v: Vector): Vector {
  return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
}
