// A table of any length that draws only what is seen. The kernel holds the rows; pages of them are asked for by message,
// so that a saved notebook holds the first page and no more. Everything is set as text, never as HTML.
//
// Keys: arrows, Page Up and Down, Home and End move; Enter or Space chooses; in a header they sort.

const ROW = 26;        // pixels, as table.css has it
const PAGE = 50;       // rows asked for at once
const MOST_PAGES = 40; // pages kept

let count = 0;

function render({ model, el }) {
  const prefix = `sl-table-${(count += 1)}`;
  const pages = new Map();
  let asked = new Set();
  let version = model.get("version");
  let cursor = 0;

  const box = make("div", "sl-table", el);
  const caption = make("div", "sl-caption", box);
  caption.id = `${prefix}-caption`;
  const scroller = make("div", "sl-scroller", box);
  const grid = make("div", "sl-grid", scroller);
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-labelledby", caption.id);
  grid.tabIndex = 0;
  const head = make("div", "sl-head sl-row", grid);
  head.setAttribute("role", "row");
  head.setAttribute("aria-rowindex", "1");
  const body = make("div", "sl-body", grid);
  body.setAttribute("role", "rowgroup");

  function columns() { return model.get("columns"); }
  function numRows() { return model.get("num_rows"); }

  function drawHead() {
    head.replaceChildren();
    const sort = model.get("sort");
    columns().forEach((column, index) => {
      const cell = make("div", `sl-cell ${column.number ? "sl-number" : ""}`, head);
      cell.setAttribute("role", "columnheader");
      cell.setAttribute("aria-colindex", String(index + 1));
      const up = sort[0] === column.name;
      cell.setAttribute("aria-sort", up ? (sort[1] === "up" ? "ascending" : "descending") : "none");
      if (column.sortable) {
        const button = make("button", "sl-sort", cell);
        button.type = "button";
        button.textContent = column.title + (up ? (sort[1] === "up" ? " ▲" : " ▼") : "");
        button.addEventListener("click", () => {
          model.set("sort", [column.name, up && sort[1] === "up" ? "down" : "up"]);
          model.save_changes();
        });
      } else {
        cell.textContent = column.title;
      }
    });
    grid.style.setProperty("--sl-columns", columns().map((c) => c.width || "minmax(6rem, 1fr)").join(" "));
    grid.setAttribute("aria-colcount", String(columns().length));
  }

  function page(number) {
    if (pages.has(number)) return pages.get(number);
    if (!asked.has(number) && number * PAGE < numRows()) {
      asked.add(number);
      model.send({ kind: "page", start: number * PAGE, stop: (number + 1) * PAGE, version });
    }
    return null;
  }

  function keep(start, rows) {
    pages.set(start / PAGE, rows);
    asked.delete(start / PAGE); // one that is dropped below may be asked for again
    while (pages.size > MOST_PAGES) pages.delete(pages.keys().next().value);
  }

  function draw() {
    caption.textContent = model.get("caption");
    grid.setAttribute("aria-rowcount", String(numRows() + 1));
    body.style.height = `${Math.min(numRows() * ROW, 8000000)}px`;
    const top = Math.max(scroller.scrollTop - head.offsetHeight, 0);
    const first = Math.max(Math.floor(top / ROW) - 4, 0);
    const last = Math.min(first + Math.ceil(scroller.clientHeight / ROW) + 8, numRows());
    const chosen = new Set(model.get("chosen"));
    const rows = [];
    for (let i = first; i < last; i += 1) {
      const held = page(Math.floor(i / PAGE));
      const values = held ? held[i % PAGE] : null;
      const row = document.createElement("div");
      row.className = "sl-row";
      row.id = `${prefix}-${i}`;
      row.style.top = `${i * ROW}px`;
      row.setAttribute("role", "row");
      row.setAttribute("aria-rowindex", String(i + 2));
      const id = values ? values.id : null;
      row.setAttribute("aria-selected", String(id !== null && chosen.has(id)));
      if (i === cursor) row.classList.add("sl-cursor");
      columns().forEach((column, index) => {
        const cell = make("div", `sl-cell ${column.number ? "sl-number" : ""}`, row);
        cell.setAttribute("role", "gridcell");
        cell.setAttribute("aria-colindex", String(index + 1));
        const text = values ? values.cells[index] : "…";
        cell.textContent = text;
        cell.title = text;
        if (values && values.tones && values.tones[index]) cell.classList.add(`sl-${values.tones[index]}`);
      });
      row.addEventListener("click", (event) => { cursor = i; choose(i, event.ctrlKey || event.metaKey, event.shiftKey); });
      rows.push(row);
    }
    body.replaceChildren(...rows);
    if (numRows() > 0) grid.setAttribute("aria-activedescendant", `${prefix}-${cursor}`);
    else grid.removeAttribute("aria-activedescendant");
    if (numRows() === 0) {
      const none = make("div", "sl-none", body);
      none.setAttribute("role", "row");
      make("div", "sl-cell", none, "gridcell").textContent = model.get("empty");
      body.style.height = `${ROW}px`;
    }
  }

  function idAt(i) {
    const held = pages.get(Math.floor(i / PAGE));
    const values = held && held[i % PAGE];
    return values ? values.id : null;
  }

  function choose(i, add, range) {
    const id = idAt(i);
    if (id === null) return;
    let chosen = model.get("chosen");
    if (!model.get("multiple")) chosen = [id];
    else if (range && chosen.length) {
      model.send({ kind: "range", from: chosen[chosen.length - 1], to: id, version });
      return;
    } else if (add) chosen = chosen.includes(id) ? chosen.filter((other) => other !== id) : [...chosen, id];
    else chosen = [id];
    model.set("chosen", chosen);
    model.save_changes();
    draw();
  }

  function move(to) {
    cursor = Math.min(Math.max(to, 0), Math.max(numRows() - 1, 0));
    const at = cursor * ROW;
    const seen = scroller.clientHeight - head.offsetHeight;
    if (at < scroller.scrollTop) scroller.scrollTop = at;
    else if (at + ROW > scroller.scrollTop + seen) scroller.scrollTop = at + ROW - seen;
    draw();
  }

  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return; // a header's button has keys of its own
    const jump = Math.max(Math.floor(scroller.clientHeight / ROW) - 2, 1);
    const moves = { ArrowDown: cursor + 1, ArrowUp: cursor - 1, PageDown: cursor + jump, PageUp: cursor - jump, Home: 0, End: numRows() - 1 };
    if (event.key in moves) move(moves[event.key]);
    else if (event.key === "Enter" || event.key === " ") choose(cursor, event.ctrlKey || event.metaKey || event.key === " ", event.shiftKey);
    else return;
    // JupyterLab has meanings of its own for these keys.
    event.preventDefault();
    event.stopPropagation();
  });

  let waiting = false;
  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  scroller.addEventListener("scroll", soon);

  function refresh() {
    version = model.get("version");
    pages.clear();
    asked = new Set();
    keep(0, model.get("first_page"));
    cursor = Math.min(cursor, Math.max(numRows() - 1, 0));
    drawHead();
    draw();
  }

  model.on("msg:custom", (message) => {
    if (message.kind !== "page" || message.version !== version) return;
    keep(message.start, message.rows);
    soon();
  });
  model.on("change:version", refresh);
  model.on("change:chosen", soon);
  model.on("change:caption", soon);
  refresh();
  const resized = new ResizeObserver(soon);
  resized.observe(scroller);
  return () => resized.disconnect();
}

function make(tag, names, parent, role) {
  const made = document.createElement(tag);
  made.className = names;
  if (role) made.setAttribute("role", role);
  if (parent) parent.append(made);
  return made;
}

export default { render };
