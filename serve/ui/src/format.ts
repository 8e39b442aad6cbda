// Numbers and names for people, and tables for files.

import type { Prediction } from "./api";

const NAMES: Record<string, string> = {
  bulk_modulus: "Bulk modulus",
  shear_modulus: "Shear modulus",
  youngs_modulus: "Young’s modulus",
  debye_temperature: "Debye temperature",
  formation_energy_per_atom: "Formation energy",
  cohesive_energy_per_atom: "Cohesive energy",
};

const SHORT: Record<string, string> = {
  bulk_modulus: "K",
  shear_modulus: "G",
  youngs_modulus: "E",
  debye_temperature: "Debye",
  formation_energy_per_atom: "Formation energy",
  cohesive_energy_per_atom: "Cohesive energy",
};

const MINUS = "\u2212";

export function nameOf(target: string): string {
  return NAMES[target] ?? target.replaceAll("_", " ");
}

export function shortNameOf(target: string): string {
  return SHORT[target] ?? nameOf(target);
}

export function number(value: number, digits = 3): string {
  if (value === 0) return "0";
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(decimals, 6)).replace("-", MINUS);
}

export function percent(share: number): string {
  return `${number(100 * share, 2)} %`;
}

// Fe2O3 with its counts lowered.
export function formula(text: string): DocumentFragment {
  const out = document.createDocumentFragment();
  for (const part of text.split(/(\d+(?:\.\d+)?)/)) {
    if (/^\d/.test(part)) {
      const sub = document.createElement("sub");
      sub.textContent = part;
      out.append(sub);
    } else out.append(part);
  }
  return out;
}

// A file's name that may wrap after each of its words, as a person would break it.
export function fileName(name: string): DocumentFragment {
  const out = document.createDocumentFragment();
  for (const part of name.split(/(?<=[_-])(?=[^_-])/)) {
    if (out.hasChildNodes()) out.append(document.createElement("wbr"));
    out.append(part);
  }
  return out;
}

export function stem(fileName: string): string {
  return fileName.split(/\.|_CHGCAR/)[0] || fileName;
}

export interface Row {
  file: string;
  prediction: Prediction | null;
  problem: string;
}

// The columns of the job `predict`, so that one script reads both.
export function csv(rows: Row[]): string {
  const targets = [...new Set(rows.flatMap((row) => row.prediction?.predictions.map((p) => p.target) ?? []))];
  const columns = targets.flatMap((t) => [t, `${t}_lower`, `${t}_upper`]);
  const head = ["material_id", "file", "formula", "density_kind", ...columns, "in_domain", "reason", "model"];
  const lines = rows.map(({ file, prediction, problem }) => {
    const values = targets.flatMap((t): (string | number)[] => {
      const found = prediction?.predictions.find((p) => p.target === t);
      return found ? [found.value, found.lower, found.upper] : ["", "", ""];
    });
    return [
      stem(file),
      file,
      prediction?.material.formula ?? "",
      prediction?.material.density_kind ?? "",
      ...values,
      prediction ? String(prediction.in_domain) : "",
      prediction ? prediction.reasons.join("; ") : problem,
      prediction ? `${prediction.model.name} ${prediction.model.version}` : "",
    ];
  });
  return [head, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
}

function cell(value: string | number): string {
  const text = String(value);
  // A leading = + @ would be a formula to a spreadsheet; numbers of ours may begin with a minus sign.
  const safe = typeof value === "string" && /^[=+@-]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
