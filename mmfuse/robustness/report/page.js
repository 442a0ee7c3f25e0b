// Draws each figure in the reader's colours, and again when these change.
const dark = matchMedia("(prefers-color-scheme: dark)");
const coarse = matchMedia("(pointer: coarse)");

function inked(trace) {
  if (trace.type !== "bar") return trace; // an interval on a bar needs more than the bar's colour
  const color = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  return { ...trace, error_x: { ...trace.error_x, color } };
}

function coloured(layout) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const line = style.getPropertyValue("--line").trim();
  const paper = style.getPropertyValue("--panel").trim();
  const found = {
    ...layout,
    autosize: true,
    dragmode: coarse.matches ? false : "zoom", // a finger scrolls the page
    font: { ...layout.font, color: ink, size: 12, family: "system-ui, sans-serif" },
    hoverlabel: { ...layout.hoverlabel, bgcolor: paper, bordercolor: line, font: { color: ink } },
  };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    found[name] = { ...layout[name], gridcolor: line, zerolinecolor: line, linecolor: line };
  }
  return found;
}

// Plotly is packed, as it is large, and runs once it is unpacked.
async function unpack() {
  const packed = document.getElementById("plotly").textContent;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}

function drawAll() {
  for (const box of document.querySelectorAll(".figure")) {
    const place = box.querySelector(".plot");
    const figure = JSON.parse(box.querySelector("script").textContent);
    const draw = () =>
      Plotly.react(place, figure.data.map(inked), coloured(figure.layout), {
        responsive: true,
        displayModeBar: false,
      });
    draw();
    dark.addEventListener("change", draw);
  }
  for (const folded of document.querySelectorAll("details")) {
    folded.addEventListener("toggle", () => dispatchEvent(new Event("resize")));
  }
}

// What is folded is printed too.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});

unpack().then(drawAll);
