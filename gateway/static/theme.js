// Sets the colours before the first paint, hence a plain script and not a module.
// The choice (system, light, dark) is kept in localStorage where the browser allows it.
(() => {
  const preference = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem("theme") ?? "system";
    } catch {
      return "system"; // storage is blocked: follow the system
    }
  };

  const keep = (choice) => {
    try {
      localStorage.setItem("theme", choice);
    } catch {
      // storage is blocked: the choice lasts as long as the page
    }
  };

  let choice = stored();
  const apply = () => {
    const dark = choice === "dark" || (choice === "system" && preference.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  };

  apply();
  preference.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    const fieldset = document.getElementById("theme");
    if (!fieldset) return; // the sign-in page has no switch
    const current = fieldset.querySelector(`input[value="${CSS.escape(choice)}"]`);
    if (current) current.checked = true;
    fieldset.addEventListener("change", (event) => {
      choice = event.target.value;
      keep(choice);
      apply();
    });
  });
})();
