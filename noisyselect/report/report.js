"use strict";

// Nothing here makes markup of text: what came with the run stays text.

const root = document.documentElement;

function startTheme() {
  const button = document.getElementById("theme");
  const wanted = matchMedia("(prefers-color-scheme: dark)");
  function show(dark) {
    root.dataset.theme = dark ? "dark" : "light";
    button.setAttribute("aria-pressed", String(dark));
  }
  button.addEventListener("click", () => show(root.dataset.theme !== "dark"));
  wanted.addEventListener("change", () => show(wanted.matches));
  show(wanted.matches);
  button.hidden = false;
}

function startTable() {
  const table = document.getElementById("samples");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filters = document.getElementById("filters");
  const search = document.getElementById("search");
  const given = document.getElementById("given");
  const predicted = document.getElementById("predicted");
  const status = document.getElementById("status");

  const shown = () => Array.from(body.rows).filter((row) => !row.hidden);
  const count = (n) => n.toLocaleString("en");

  function filter() {
    const wanted = search.value.trim().toLowerCase().split(/\s+/);
    for (const row of rows) {
      row.hidden =
        !wanted.every((word) => words.get(row).includes(word)) ||
        (given.value !== "" && row.dataset.given !== given.value) ||
        (predicted !== null && predicted.value !== "" && row.dataset.predicted !== predicted.value);
    }
    const n = shown().length;
    status.textContent = n === rows.length ? `${count(n)} shown.` : `${count(n)} of ${count(rows.length)} shown.`;
  }

  function sort(heading, button) {
    const column = heading.cellIndex;
    const order = heading.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    for (const other of table.tHead.rows[0].cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const compare = button.dataset.kind === "number" ? byNumber : byText;
    rows.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
    body.append(...rows);
  }

  for (const heading of table.tHead.rows[0].cells) {
    const button = heading.querySelector("button");
    if (button) button.addEventListener("click", () => sort(heading, button));
  }
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", filter);
  // The fields are empty only after the event.
  filters.addEventListener("reset", () => setTimeout(filter));
  document.getElementById("copy").addEventListener("click", async () => {
    const ids = shown().map((row) => row.dataset.id);
    const text = ids.join("\n");
    const copied = (await copyByClipboard(text)) || copyBySelection(text);
    status.textContent = copied
      ? `${count(ids.length)} ${ids.length === 1 ? "id" : "ids"} copied, one a line.`
      : "Not copied; see below.";
  });
  filters.hidden = false;
}

// What is not known stands last, whichever way the rest is sorted.
function byNumber(a, b, sign) {
  const [x, y] = [Number(a.dataset.key), Number(b.dataset.key)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  return sign * (x - y);
}

const collator = new Intl.Collator("en", { numeric: true });

function byText(a, b, sign) {
  return sign * collator.compare(a.textContent, b.textContent);
}

async function copyByClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no clipboard, or not from a file
  }
}

// The older way, which needs text that is selected; if it fails as well, the text stays for Ctrl+C.
function copyBySelection(text) {
  const fallback = document.getElementById("fallback");
  const field = document.getElementById("ids");
  const focused = document.activeElement;
  fallback.hidden = false;
  field.value = text;
  field.select();
  const copied = document.execCommand("copy");
  if (copied) {
    fallback.hidden = true;
    focused.focus();
  }
  return copied;
}

startTheme();
startTable();
