// The choice of microphone, camera and speaker.

/** What a device without a name is called: browsers name devices once one was opened. */
const NAMELESS = { microphone: "Microphone", camera: "Camera", speaker: "Speaker" };

/** A dialog with one list for each kind of device; each list is a `<select data-kind>`. */
export class DevicePicker {
  #dialog;
  #kit;
  /** By kind: what the person chose here. */
  #chosen = {};

  constructor(dialog, kit) {
    this.#dialog = dialog;
    this.#kit = kit;
    for (const list of this.#lists()) list.addEventListener("change", () => this.#choose(list));
    kit.on("onDevicesChanged", () => this.#dialog.open && this.#fill());
  }

  async open() {
    await this.#fill();
    this.#dialog.showModal();
  }

  #lists() {
    return [...this.#dialog.querySelectorAll("select[data-kind]")];
  }

  async #fill() {
    const devices = await this.#kit.getDevices();
    for (const list of this.#lists()) {
      const { kind } = list.dataset;
      const options = devices[kind].map(({ deviceId, label }, index) => new Option(label || `${NAMELESS[kind]} ${index + 1}`, deviceId));
      list.replaceChildren(...options);
      list.value = devices[kind].some(({ deviceId }) => deviceId === this.#chosen[kind]) ? this.#chosen[kind] : (options[0]?.value ?? "");
      // Where the browser offers no choice there is none to make.
      list.closest("label").hidden = options.length === 0;
    }
  }

  async #choose(list) {
    const { kind } = list.dataset;
    this.#chosen[kind] = list.value;
    // What fails is told by onError.
    await this.#kit.useDevice(kind, list.value).catch(() => {});
  }
}
