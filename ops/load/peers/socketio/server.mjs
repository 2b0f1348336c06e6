// A Socket.IO server as its users write one: a JWT at connect, rooms for channels. Arguments: port, secret.

import jwt from 'jsonwebtoken';
import { Server } from 'socket.io';

const [port, secret] = process.argv.slice(2);
const io = new Server({ transports: ['websocket'], serveClient: false });
io.use((socket, next) => {
  try {
    jwt.verify(socket.handshake.auth.token, secret, { algorithms: ['HS256'] });
    next();
  } catch (error) {
    next(error);
  }
});
io.on('connection', (socket) => {
  socket.on('subscribe', (channel, done) => {
    socket.join(channel);
    done();
  });
  socket.on('publish', (channel, data) => io.to(channel).emit('m', data));
});
io.listen(Number(port));
