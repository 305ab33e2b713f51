// Makes the replica set of MONGODB_MEMBERS, or adds those that it lacks. Running it again changes nothing.
//
// The first member is initiated alone and the others are added one by one, which is one way for the first start, for growing,
// and for members that hold users of their own already: a set may not be initiated over members that hold anything. Nothing
// is initiated where any member is in a set, so that a first member that lost its disk joins the others and takes no new
// set's lead. Where there are users, it makes the two that Firesteel has, or gives them the passwords that they should have.
// Whatever does not work ends this program; Kubernetes runs it again.
const members = process.env.MONGODB_MEMBERS.split(",").map((name) => name.trim());
const user = process.env.MONGODB_USERNAME;
const login = user ? `${encodeURIComponent(user)}:${encodeURIComponent(process.env.MONGODB_PASSWORD)}@` : "";
const options = "authSource=admin&serverSelectionTimeoutMS=20000";

function must(answer) {
  if (!answer.ok) throw new Error(`${answer.codeName}: ${answer.errmsg}`);
  return answer;
}

// A member answers `hello` without a password.
function setOf(member) {
  const connection = new Mongo(`mongodb://${member}/?directConnection=true&serverSelectionTimeoutMS=20000`);
  return must(connection.getDB("admin").runCommand({ hello: 1 })).setName;
}

const inSet = members.filter(setOf);
if (inSet.length === 0) {
  const first = new Mongo(`mongodb://${login}${members[0]}/?directConnection=true&${options}`);
  must(first.getDB("admin").runCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: members[0] }] } }));
  print(`initiated rs0 with ${members[0]}`);
  inSet.push(members[0]);
}

// Waits until there is a primary.
const admin = new Mongo(`mongodb://${login}${inSet.join(",")}/?replicaSet=rs0&${options}`).getDB("admin");
for (const member of members) {
  const config = must(admin.runCommand({ replSetGetConfig: 1 })).config;
  if (config.members.some((one) => one.host === member)) continue;
  const id = Math.max(...config.members.map((one) => one._id)) + 1;
  config.members.push({ _id: id, host: member });
  config.version += 1;
  // One voter at a time, and each once the set has agreed on the one before.
  must(admin.runCommand({ replSetReconfig: config, maxTimeMS: 60000 }));
  print(`added ${member}`);
}
print(`rs0 has ${members.join(", ")}`);

// Each may do its part in the one database, and nothing anywhere else.
const database = process.env.MONGODB_DATABASE;
const users = [
  { name: "firesteel-writer", password: process.env.MONGODB_WRITER_PASSWORD, role: "readWrite" },
  { name: "firesteel-reader", password: process.env.MONGODB_READER_PASSWORD, role: "read" },
];
for (const { name, password, role } of users.filter((one) => one.password)) {
  const there = must(admin.runCommand({ usersInfo: name })).users.length > 0;
  const roles = [{ role, db: database }];
  must(admin.runCommand({ [there ? "updateUser" : "createUser"]: name, pwd: password, roles, writeConcern: { w: "majority" } }));
  print(`${name} may ${role === "read" ? "read" : "read and write"} ${database}`);
}
