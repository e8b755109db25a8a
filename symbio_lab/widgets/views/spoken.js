// One line that screen readers speak when it changes: the element stays, only its text does not.
function render({ model, el }) {
  const line = document.createElement("div");
  line.className = "sl-spoken";
  line.setAttribute("role", "status");
  line.setAttribute("aria-live", "polite");
  el.append(line);
  const draw = () => {
    line.textContent = model.get("text");
    line.dataset.tone = model.get("tone");
  };
  model.on("change:text", draw);
  model.on("change:tone", draw);
  draw();
}
export default { render };
