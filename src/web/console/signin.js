// Getting in: by the one-time link that the server printed, or with the API key.
import { Component, icon, tags } from "./dom.js";

const { button, code, div, form, h1, img, input, label, main, p } = tags;

export class SignIn extends Component {
  state = { failure: this.props.failure, busy: false };

  async #submit(event) {
    event.preventDefault();
    const apiKey = new FormData(event.target).get("key").trim();
    this.setState({ busy: true, failure: null });
    try {
      await this.props.signIn({ apiKey });
    } catch (failure) {
      this.setState({ busy: false, failure: failure.message });
    }
  }

  render(_, { failure, busy }) {
    return main({ class: "gate" },
      form({ class: "panel", onSubmit: (event) => this.#submit(event) },
        img({ src: "/console/favicon.svg", alt: "", width: 56, height: 56 }),
        h1("Callisto console"),
        p(code("callisto console"), " prints a link that opens this page once. Or sign in with the API key, which the server keeps in ", code("data/api-key"), "."),
        failure && p({ class: "notice bad", role: "alert" }, failure),
        div({ class: "field" },
          label({ for: "key" }, "API key"),
          input({ id: "key", name: "key", type: "password", autocomplete: "current-password", required: true, autofocus: true })),
        button({ type: "submit", class: "primary", disabled: busy }, icon("key"), "Sign in")));
  }
}
