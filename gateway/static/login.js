// After a wrong password the name is there already: the next thing to type is the password.
const user = document.getElementById("user");
if (user.value) document.getElementById("password").focus();

// Somebody who follows a link from another site is signed in all the same: the browser keeps the
// cookie (SameSite=Strict) from that first request only.
const answer = await fetch("api/session", { cache: "no-store" }).catch(() => null);
if (answer?.ok) location.replace("./");
