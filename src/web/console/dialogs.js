// Questions before something that cannot be taken back, and what came of it.
import { Component, h, tags } from "./dom.js";

const { button, dialog, div, form, h2, input, label, p } = tags;

/** Something modal: who opened it has the focus again when it is gone. */
class Modal extends Component {
  show = (element) => {
    if (element && !element.open) {
      this.opener = document.activeElement;
      element.showModal();
    }
  };

  componentWillUnmount() {
    this.opener?.focus();
  }
}

/**
 * A modal question. `ask`: { title, text, fields: [{ name, label, type, hint, value }], verb, danger, act(values) }; `act` may reject: the dialog
 * then shows why and stays.
 */
export class Question extends Modal {
  state = { failure: null, busy: false };

  async #answer(event) {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(event.target));
    this.setState({ busy: true, failure: null });
    try {
      await this.props.ask.act(values);
      this.props.close();
    } catch (failure) {
      this.setState({ busy: false, failure: failure.message });
    }
  }

  render({ ask, close }, { failure, busy }) {
    return dialog({ ref: this.show, class: "question", "aria-labelledby": "question-title", onCancel: close, onClose: close },
      form({ onSubmit: (event) => this.#answer(event) },
        h2({ id: "question-title" }, ask.title),
        ask.text && p(ask.text),
        (ask.fields ?? []).map((field) => div({ class: "field", key: field.name },
          label({ for: `field-${field.name}` }, field.label),
          input({ id: `field-${field.name}`, name: field.name, type: field.type ?? "text", defaultValue: field.value, min: field.min, autocomplete: "off" }),
          field.hint && p({ class: "faint" }, field.hint))),
        failure && p({ class: "notice bad", role: "alert" }, failure),
        div({ class: "actions end" },
          button({ type: "button", onClick: close }, "Cancel"),
          button({ type: "submit", class: ask.danger ? "stop" : "primary", disabled: busy, "data-testid": "confirm" }, ask.verb))));
  }
}

/** Anything modal that is only looked at. */
export class Sheet extends Modal {
  render({ close, children }) {
    return dialog({ ref: this.show, class: "sheet", onCancel: close, onClose: close }, children);
  }
}

/** Short words on what happened, read out by screen readers. */
export function Toasts({ toasts }) {
  return div({ id: "toasts", role: "status", "aria-live": "polite" }, toasts.map(({ id, text, bad }) => h("p", { key: id, class: bad ? "bad" : "" }, text)));
}
