import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** How many bytes a question may have; Node's parser takes no more headers either. */
const MOST_QUESTION = 16_384;
const END = '\r\n\r\n';

/**
 * Calls back when a socket holds one question, and nothing behind it: a packet may have thousands of them, and Node would
 * parse them all before anybody could stop it.
 */
export function readQuestion(socket: Socket, asked: () => void): void {
  let question = Buffer.alloc(0);
  socket.on('data', function read(piece) {
    question = Buffer.concat([question, piece]);
    const end = question.indexOf(END);
    if (end === -1 && question.length < MOST_QUESTION) return;
    socket.off('data', read);
    socket.pause();
    socket.unshift(end === -1 ? question : question.subarray(0, end + END.length));
    asked();
    socket.resume();
    // The parser takes the question in the next tick, and goes on to read by itself.
    process.nextTick(() => socket.pause());
  });
  socket.resume();
}

/**
 * Ends an answer, and keeps the connection until its other side ends it too. A socket that is closed before lives on in
 * the kernel with what was not taken, and nobody would count it.
 */
export function endAnswer(socket: Socket): void {
  socket.end();
  // What comes now lies behind the question. The parser has begun to read again, and lets go of a socket that another hears.
  socket.once('resume', () => socket.removeAllListeners('data').on('data', () => drop(socket)));
  socket.resume();
}

/** Ends a connection with a reset, so that the kernel drops what its other side has not taken. */
export function drop(socket: Socket): void {
  // libuv refuses a reset until an end is through, and Node would lose the socket.
  const isEnding = socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished;
  if (isEnding) socket.once('finish', () => socket.resetAndDestroy());
  else socket.resetAndDestroy();
}

/** Refuses what is no question, as Node does, which would close the connection at once. */
export function refuse({ code }: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable) return;
  const status = code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
  socket.write(`HTTP/1.1 ${status}\r\nConnection: close${END}`);
  // It is paused by then.
  setImmediate(() => endAnswer(socket as Socket));
}
