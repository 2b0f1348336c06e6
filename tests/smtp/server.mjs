// A mail server for tests, whose behaviour the recipient's local part chooses:
//
//   ok*        takes the message; so does every other name
//   greylist*  451 at RCPT the first time for each recipient, then takes the message
//   unknown*   550 5.1.1 at RCPT
//   full*      552 5.2.2 at the end of the message
//   drop*      takes the message and cuts the connection after the final dot, without an answer
//   silent*    takes the message and answers nothing for a minute
//
// Argument, all optional: {"port", "user", "password"}. With a user, AUTH is offered and wanted.
// Output: {"port"} when it listens, then for each message that it has taken
// {"from", "to", "raw"}, raw in base64.
// The server ends with its standard input.

import { SMTPServer } from 'smtp-server';

// A test that hangs must not leave a process behind.
setTimeout(() => process.exit(3), 600_000).unref();
process.stdin.on('end', () => process.exit(0)).resume();

const { port = 0, user, password } = JSON.parse(process.argv[2] ?? '{}');
const tell = (fields) => process.stdout.write(JSON.stringify(fields) + '\n');
const answer = (code, text) => Object.assign(new Error(text), { responseCode: code });
const local = (address) => address.slice(0, address.lastIndexOf('@'));
const greylisted = new Set();

const server = new SMTPServer({
  disabledCommands: user ? ['STARTTLS'] : ['STARTTLS', 'AUTH'],
  authOptional: !user,
  allowInsecureAuth: true,
  disableReverseLookup: true,
  logger: false,
  onAuth(auth, session, done) {
    if (auth.username === user && auth.password === password) return done(null, { user });
    done(answer(535, '5.7.8 wrong user or password'));
  },
  onRcptTo({ address }, session, done) {
    const name = local(address);
    if (name.startsWith('unknown')) return done(answer(550, '5.1.1 no such user here'));
    if (name.startsWith('greylist') && !greylisted.has(address)) {
      greylisted.add(address);
      return done(answer(451, '4.7.1 greylisted, try again later'));
    }
    done();
  },
  onData(stream, session, done) {
    const parts = [];
    stream.on('data', (part) => parts.push(part));
    stream.on('end', () => {
      const to = session.envelope.rcptTo.map(({ address }) => address);
      const is = (kind) => to.some((address) => local(address).startsWith(kind));
      if (is('full')) return done(answer(552, '5.2.2 mailbox full'));
      tell({ from: session.envelope.mailFrom.address, to, raw: Buffer.concat(parts).toString('base64') });
      if (is('drop')) return cut(session);
      if (is('silent')) return setTimeout(done, 60_000);
      done();
    });
  },
});

// Ends a session's connection without a word.
function cut(session) {
  for (const connection of server.connections) {
    if (connection.session === session) connection._socket.destroy();
  }
}

// A client that goes away in the middle is a part of the tests.
server.on('error', () => {});
server.listen(port, '127.0.0.1', () => tell({ port: server.server.address().port }));
