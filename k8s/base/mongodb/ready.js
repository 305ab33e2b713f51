// Ready: a member of the set that serves, be it as primary or as secondary. Needs no password.
const hello = db.hello();
quit(hello.setName && (hello.isWritablePrimary || hello.secondary) ? 0 : 1);
