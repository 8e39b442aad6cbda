// The page: files in, crystals and numbers out.

import { model, predict, Refusal, useToken, type View, view } from "./api";
import { Detail } from "./detail";
import { find, h, save, say } from "./dom";
import { drawList, type Entry, rowsOf } from "./files";
import { csv } from "./format";

const AT_ONCE = 2; // files under way; the rest waits here instead of at the endpoint
const detail = new Detail();
const views = new Map<File, View>();
let entries: Entry[] = [];
let selected: Entry | null = null;
let turn = 0; // grows with every choice of files, so that late answers of the last one are dropped

async function take(files: File[]): Promise<void> {
  if (!files.length) return;
  const mine = ++turn;
  views.clear();
  entries = files.map((file) => ({ file, state: "waiting", share: null, prediction: null, problem: null }));
  selected = null;
  document.body.classList.add("busy");
  say(files.length === 1 ? `${files[0]?.name} is on its way` : `${files.length} files are on their way`);
  redraw();
  const first = entries[0] as Entry;
  await select(first, mine);
  const rest = entries.slice(1);
  const worker = async (): Promise<void> => {
    for (let entry = rest.shift(); entry && mine === turn; entry = rest.shift()) await answer(entry, mine);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (mine === turn && entries.length > 1) say(`${entries.length} files answered`);
}

async function answer(entry: Entry, mine: number): Promise<void> {
  try {
    entry.prediction = await predict(entry.file, (share) => note(entry, share, mine));
  } catch (error) {
    entry.problem = asRefusal(error);
    if (entry.problem.status === 401) askForToken();
  }
  if (mine === turn) redraw();
}

async function select(entry: Entry, mine = turn): Promise<void> {
  selected = entry;
  redraw();
  try {
    let found = views.get(entry.file);
    if (!found) {
      detail.wait(entry.file, "sending", 0);
      found = await view(entry.file, (share) => {
        note(entry, share, mine);
        if (selected === entry && mine === turn) detail.wait(entry.file, share === null ? "computing" : "sending", share);
      });
      views.set(entry.file, found);
      entry.prediction = found;
      entry.problem = null;
    }
    if (mine === turn && selected === entry) detail.show(entry.file, found);
  } catch (error) {
    entry.problem = asRefusal(error);
    if (entry.problem.status === 401) askForToken();
    if (mine === turn && selected === entry) detail.fail(entry.file, entry.problem.title, entry.problem.detail);
  }
  if (mine === turn) redraw();
}

function note(entry: Entry, share: number | null, mine: number): void {
  entry.share = share;
  entry.state = share === null ? "computing" : "sending";
  if (mine === turn) redraw();
}

function redraw(): void {
  const tools = h(
    "div",
    { class: "downloads", role: "group", "aria-label": "Download all" },
    h("button", { class: "button", "data-focus": "all-csv", click: () => save("rhoray.csv", csv(rowsOf(entries)), "text/csv") }, "CSV of all"),
    h("button", { class: "button", "data-focus": "all-json", click: () => save("rhoray.json", JSON.stringify(rowsOf(entries).map(bare), null, 1), "application/json") }, "JSON of all"),
  );
  drawList(entries, selected, (entry) => void select(entry), tools);
}

// Without the grids, which are for pictures.
function bare(row: ReturnType<typeof rowsOf>[number]): unknown {
  const { density: _d, reconstruction: _r, ...prediction } = (row.prediction ?? {}) as Partial<View>;
  return row.prediction ? { file: row.file, ...prediction } : { file: row.file, problem: row.problem };
}

function asRefusal(error: unknown): Refusal {
  return error instanceof Refusal ? error : new Refusal(0, "Something failed on this page", String(error), null);
}

function askForToken(): void {
  const form = find<HTMLFormElement>("access");
  form.hidden = false;
  find("token").focus();
}

function start(): void {
  const input = find<HTMLInputElement>("files");
  const drop = find("drop");
  input.addEventListener("change", () => {
    void take([...(input.files ?? [])]);
    input.value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    void take([...(event.dataTransfer?.files ?? [])]);
  });
  find("access").addEventListener("submit", (event) => {
    event.preventDefault();
    useToken(find<HTMLInputElement>("token").value);
    find("access").hidden = true;
    void take(entries.map((entry) => entry.file));
  });
  model().then(
    ({ name, version }) => find("model").replaceChildren(`model ${name} `, h("span", { class: "whole" }, version)),
    () => (find("model").textContent = "the model is not ready yet"),
  );
}

start();
