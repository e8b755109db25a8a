// Points in a plane, coloured and shaped by group, and a lasso. Positions come as one text (base64 of little-endian
// uint16 pairs), so that ten thousand points are 53 kB in a saved notebook.
//
// Drag draws a lasso; Shift adds to the choice. Without a mouse: groups are chosen in the legend, whose entries are buttons.

const SHAPES = ["circle", "square", "triangle", "diamond", "cross"];

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "sl-scatter";
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  const legend = document.createElement("div");
  legend.className = "sl-legend";
  legend.setAttribute("role", "group");
  legend.setAttribute("aria-label", "groups of points; choose one to select its points");
  box.append(canvas, legend);
  el.append(box);

  let points = new Uint16Array(0);
  let groups = new Uint8Array(0);
  let chosen = new Set();
  let path = [];

  function bytes(text) {
    const plain = atob(text);
    const out = new Uint8Array(plain.length);
    for (let i = 0; i < plain.length; i += 1) out[i] = plain.charCodeAt(i);
    return out;
  }

  function load() {
    points = new Uint16Array(bytes(model.get("points")).buffer);
    groups = bytes(model.get("groups"));
    chosen = new Set(model.get("chosen"));
    drawLegend();
    draw();
  }

  function place(i) {
    const pad = 10;
    return [
      pad + (points[2 * i] / 65535) * (canvas.clientWidth - 2 * pad),
      pad + (1 - points[2 * i + 1] / 65535) * (canvas.clientHeight - 2 * pad),
    ];
  }

  function mark(pen, shape, x, y, r) {
    pen.beginPath();
    if (shape === "square") pen.rect(x - r, y - r, 2 * r, 2 * r);
    else if (shape === "triangle") { pen.moveTo(x, y - r); pen.lineTo(x + r, y + r); pen.lineTo(x - r, y + r); pen.closePath(); }
    else if (shape === "diamond") { pen.moveTo(x, y - r); pen.lineTo(x + r, y); pen.lineTo(x, y + r); pen.lineTo(x - r, y); pen.closePath(); }
    else if (shape === "cross") { pen.rect(x - r, y - r / 3, 2 * r, (2 * r) / 3); pen.rect(x - r / 3, y - r, (2 * r) / 3, 2 * r); }
    else pen.arc(x, y, r, 0, 2 * Math.PI);
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.clearRect(0, 0, width, height);
    const entries = model.get("legend");
    const radius = points.length > 8000 ? 2.2 : 3.2;
    const ink = getComputedStyle(box).color;
    // Chosen points last, so that they lie on top.
    for (const pass of [false, true]) {
      for (let i = 0; i < points.length / 2; i += 1) {
        if (chosen.has(i) !== pass) continue;
        const [x, y] = place(i);
        const entry = entries[groups[i]] || { colour: "#767676" };
        pen.fillStyle = entry.colour;
        pen.globalAlpha = chosen.size && !pass ? 0.25 : 0.8;
        mark(pen, SHAPES[groups[i] % SHAPES.length], x, y, pass ? radius + 1 : radius);
        pen.fill();
        if (pass) { pen.globalAlpha = 1; pen.lineWidth = 1; pen.strokeStyle = ink; pen.stroke(); }
      }
    }
    pen.globalAlpha = 1;
    if (path.length > 1) {
      pen.beginPath();
      path.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.closePath();
      pen.strokeStyle = ink;
      pen.setLineDash([4, 3]);
      pen.stroke();
      pen.setLineDash([]);
    }
    canvas.setAttribute("aria-label", `${model.get("label")}: ${points.length / 2} points, ${chosen.size} chosen`);
  }

  function drawLegend() {
    legend.replaceChildren();
    model.get("legend").forEach((entry, number) => {
      const button = document.createElement("button");
      button.type = "button";
      const swatch = document.createElement("canvas");
      swatch.width = 14;
      swatch.height = 14;
      swatch.setAttribute("aria-hidden", "true");
      const pen = swatch.getContext("2d");
      pen.fillStyle = entry.colour;
      mark(pen, SHAPES[number % SHAPES.length], 7, 7, 4.5);
      pen.fill();
      const words = document.createElement("span");
      words.textContent = entry.title;
      button.append(swatch, words);
      button.addEventListener("click", (event) => {
        const members = [];
        groups.forEach((group, i) => { if (group === number) members.push(i); });
        choose(members, event.shiftKey);
      });
      legend.append(button);
    });
    const none = document.createElement("button");
    none.type = "button";
    none.className = "sl-clear";
    none.textContent = "clear";
    none.addEventListener("click", () => choose([], false));
    legend.append(none);
  }

  function choose(members, add) {
    chosen = new Set(add ? [...chosen, ...members] : members);
    model.set("chosen", [...chosen].sort((a, b) => a - b));
    model.save_changes();
    draw();
  }

  function isInside(x, y) {
    let inside = false;
    for (let i = 0, j = path.length - 1; i < path.length; j = i, i += 1) {
      const [xi, yi] = path[i], [xj, yj] = path[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
    return inside;
  }

  canvas.addEventListener("pointerdown", (event) => {
    path = [[event.offsetX, event.offsetY]];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!path.length) return;
    path.push([event.offsetX, event.offsetY]);
    requestAnimationFrame(draw);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (path.length < 3) { path = []; choose(event.shiftKey ? [...chosen] : [], false); return; }
    const members = [];
    for (let i = 0; i < points.length / 2; i += 1) if (isInside(...place(i))) members.push(i);
    path = [];
    choose(members, event.shiftKey);
  });

  model.on("change:version", load);
  model.on("change:chosen", () => { chosen = new Set(model.get("chosen")); draw(); });
  const resized = new ResizeObserver(draw);
  resized.observe(canvas);
  load();
  return () => resized.disconnect();
}

export default { render };
