// The Python call that does the same, to read and to copy.
function render({ model, el }) {
  const box = document.createElement("details");
  box.className = "sl-code";
  const title = document.createElement("summary");
  title.textContent = "The same in Python";
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", "Python code");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jp-Button sl-copy";
  button.textContent = "Copy";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  box.append(title, pre, button, said);
  el.append(box);
  const draw = () => { pre.textContent = model.get("code"); said.textContent = ""; };
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(model.get("code"));
      said.textContent = " copied";
    } catch {
      // No right to the clipboard (plain http): choose the text, so that Ctrl-C copies it.
      getSelection().selectAllChildren(pre);
      said.textContent = " chosen; press Ctrl-C";
    }
  });
  model.on("change:code", draw);
  draw();
}
export default { render };
