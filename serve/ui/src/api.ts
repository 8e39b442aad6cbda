// The endpoint as this page sees it. Paths are relative: the page works below any prefix.

export interface Property {
  target: string;
  value: number;
  lower: number;
  upper: number;
  unit: string;
}

export interface Prediction {
  material: { formula: string; n_atoms: number; volume: number; n_electrons: number; density_kind: string };
  predictions: Property[];
  in_domain: boolean;
  reasons: string[];
  model: { name: string; version: string };
  seconds: Record<string, number>;
}

export interface PackedGrid {
  shape: [number, number, number];
  values: string;
}

export interface Known {
  material_id: string;
  formula: string;
  crystal_system: string;
  space_group_number: number;
  volume_per_atom: number;
  distance: number;
  references: { target: string; value: number; unit: string }[];
  source: string;
}

export interface View extends Prediction {
  crystal_system: string;
  space_group_number: number;
  lattice: number[][];
  atoms: { element: string; position: [number, number, number]; radius: number }[];
  density: PackedGrid;
  reconstruction: PackedGrid | null;
  density_error: number | null;
  nearest: Known[];
}

export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly retryAfter: number | null,
  ) {
    super(detail);
  }
}

let token = "";

export function useToken(given: string): void {
  token = given.trim();
}

const PATIENCE = 6; // tries of a request that meets an endpoint too busy

export async function model(): Promise<{ name: string; version: string }> {
  const response = await fetch("v1/health");
  if (!response.ok) throw new Error(String(response.status));
  return (await response.json()).model;
}

export function predict(file: File, onProgress: Progress): Promise<Prediction> {
  return patiently("v1/predict", file, "json", onProgress) as Promise<Prediction>;
}

export function view(file: File, onProgress: Progress): Promise<View> {
  return patiently("v1/view", file, "json", onProgress) as Promise<View>;
}

export function reconstruct(file: File): Promise<Blob> {
  return patiently("v1/reconstruct", file, "blob", () => undefined) as Promise<Blob>;
}

export type Progress = (share: number | null) => void;

async function patiently(path: string, file: File, type: "json" | "blob", onProgress: Progress): Promise<unknown> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await post(path, file, type, onProgress);
    } catch (error) {
      const wait = error instanceof Refusal ? error.retryAfter : null;
      if (wait === null || attempt === PATIENCE) throw error;
      await new Promise((done) => setTimeout(done, 1000 * Math.max(wait, 0.5) * (0.5 + Math.random()) * attempt));
    }
  }
}

// XMLHttpRequest, because fetch does not tell how much of a body has been sent.
function post(path: string, file: File, type: "json" | "blob", onProgress: Progress): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.responseType = "blob";
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
    request.upload.onprogress = (event) => onProgress(event.lengthComputable ? event.loaded / event.total : null);
    request.upload.onload = () => onProgress(null);
    request.onerror = () => reject(new Refusal(0, "No answer", "the endpoint can’t be reached", null));
    request.onload = async () => {
      const body = request.response as Blob;
      if (request.status !== 200) reject(await refusalOf(request, body));
      else resolve(type === "blob" ? body : JSON.parse(await body.text()));
    };
    const form = new FormData();
    form.append("file", file, file.name);
    request.send(form);
  });
}

async function refusalOf(request: XMLHttpRequest, body: Blob): Promise<Refusal> {
  const wait = request.getResponseHeader("Retry-After");
  const retry = request.status === 503 || request.status === 429 ? Number(wait ?? 1) || 1 : null;
  try {
    const problem = JSON.parse(await body.text());
    return new Refusal(request.status, problem.title, problem.detail, retry);
  } catch {
    return new Refusal(request.status, "Refused", `the endpoint answered ${request.status}`, retry);
  }
}
