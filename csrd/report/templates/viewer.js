// The viewer of a page: NiiVue with the volumes that the page holds. Nothing is fetched.
(() => {
  const at = (id) => document.getElementById(id);
  const PET = ["before", "after", "reference"];
  // Errors are red above zero and blue below it, the deviation is yellow; all are clear at zero.
  const lut = (...colours) => {
    const [R, G, B] = [0, 1, 2].map((channel) => [colours[0], ...colours].map((colour) => colour[channel]));
    return { R, G, B, A: [0, 255, 255, 255], I: [0, 1, 128, 255] };
  };
  const LUTS = {
    "csrd-high": lut([253, 219, 199], [239, 138, 98], [178, 24, 43]),
    "csrd-low": lut([209, 229, 240], [103, 169, 207], [33, 102, 172]),
    "csrd-size": lut([59, 73, 108], [165, 156, 116], [254, 232, 56]),
  };
  const COLOURS = {
    mr: { colormap: "gray" },
    difference: { colormap: "csrd-high", colormapNegative: "csrd-low" },
    std: { colormap: "csrd-size" },
  };
  const FULL = 0.4; // of the window, from which on a colour is no longer fainter
  const short = (value) => Number(value.toPrecision(3)).toString();
  const layers = {};
  let nv, shown = "after";

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

  async function inflated(text) {
    const stream = new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  async function loadLibrary() {
    if (window.niivue) return;
    const element = document.createElement("script");
    element.textContent = await inflated(at("viewer-library").textContent);
    document.head.append(element);
  }

  async function load(element) {
    const { key, bottom, top, unit } = element.dataset;
    const volume = await niivue.NVImage.loadFromBase64({
      base64: element.textContent, name: `${key}.nii.gz`, opacity: 0, ...(COLOURS[key] ?? { colormap: "gray" }),
    });
    if (COLOURS[key] && key !== "mr") volume.colormapType = 2; // fainter below cal_min, clear at zero
    layers[key] = { volume, unit, signed: Number(bottom) < 0, top: Number(top) };
    nv.addVolume(volume);
  }

  function show() {
    for (const [key, { volume, unit, signed, top }] of Object.entries(layers)) {
      const pet = PET.includes(key);
      const slider = at(`window-${pet ? "pet" : key}`);
      const most = top * Number(slider.value);
      const faint = pet || key === "mr" ? 0 : FULL * most;
      volume.opacity = pet ? Number(key === shown) : Number(at(`opacity-${key}`).value);
      [volume.cal_min, volume.cal_max] = [faint, most];
      if (signed) [volume.cal_minNeg, volume.cal_maxNeg] = [-faint, -most];
      slider.nextElementSibling.value = `${signed ? "±" : "to "}${short(most)} ${unit}`;
      if (!pet) at(`opacity-${key}`).nextElementSibling.value = `${Math.round(100 * volume.opacity)} %`;
    }
    if (nv.volumes[0] !== layers[shown].volume) nv.setVolume(layers[shown].volume, 0);
    nv.updateGLVolume();
  }

  function connect() {
    for (const input of document.querySelectorAll("#viewer input")) {
      input.addEventListener("input", () => {
        if (input.type === "radio") shown = input.value;
        show();
      });
    }
    at("viewer-planes").addEventListener("input", (event) => nv.setSliceType(Number(event.target.value)));
  }

  async function start() {
    at("viewer-start").disabled = true;
    at("viewer-state").textContent = "Loading …";
    try {
      if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
      await loadLibrary();
      at("viewer-body").hidden = false;
      nv = new niivue.Niivue({
        backColor: [0, 0, 0, 1], crosshairColor: [0.21, 0.77, 0.88, 0.7], crosshairWidth: 0.25, show3Dcrosshair: true,
        isColorbar: false, dragAndDropEnabled: false, loadingText: "", multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
        multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID, isRadiologicalConvention: false, logLevel: "error",
      });
      nv.onLocationChange = ({ mm }) => {
        at("viewer-place").value = `cross at ${Array.from(mm).slice(0, 3).map((v) => v.toFixed(0)).join(", ")} mm`;
      };
      await nv.attachToCanvas(at("viewer-canvas"));
      for (const [name, lut] of Object.entries(LUTS)) nv.addColormap(name, lut);
      for (const key of ["after", "before", "reference", "mr", "difference", "std"]) {
        const element = document.querySelector(`.volume[data-key="${key}"]`);
        if (element) await load(element);
      }
      nv.setSliceType(nv.sliceTypeMultiplanar);
      connect();
      show();
      nv.createOnLocationChange();
      at("viewer-start").parentElement.hidden = true;
      at("viewer").dataset.state = "open";
    } catch (error) {
      at("viewer-body").hidden = true;
      at("viewer-start").disabled = false;
      at("viewer-state").textContent = `The viewer does not open (${error.message}); the pictures above show the same.`;
      at("viewer").dataset.state = "failed";
    }
  }

  at("viewer-start").addEventListener("click", start);
  if (location.hash === "#viewer-only") {
    document.documentElement.classList.add("viewer-only");
    start();
  }
})();
