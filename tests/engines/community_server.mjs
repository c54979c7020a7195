// The Community test server: TimescaleDB Community in WebAssembly, served over PostgreSQL's wire protocol.
//
//   node community_server.mjs PACKAGE_FOLDER DATA_TAR PATIENCE     serve the database in the tar
//   node community_server.mjs PACKAGE_FOLDER --make DATA_TAR    initialise one, write its tar, end
//
// This thread holds the sockets and the queue; community_backend.mjs holds the engine. One client is served at a time,
// for the engine has one session. It is kept for as long as nobody else wants it; then, once it is between two
// transactions, it has to make room, and comes back when it has something to say. Whoever waits longer than PATIENCE
// seconds for another one's transaction to end is refused with 53300.
// Orders come as JSON lines on standard input and are answered one by one on standard output; its end ends the server,
// so a killed test run leaves nothing behind. No password is asked: loopback only, and only for tests.

import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { MessageChannel, Worker } from 'node:worker_threads'

import {
  Batches,
  CANCEL_REQUEST,
  GSS_REQUEST,
  PROTOCOL_3,
  SSL_REQUEST,
  error,
  message,
  readStartup,
} from './community_wire.mjs'

const [packageFolder, ...rest] = process.argv.slice(2)
const making = rest[0] === '--make'
const wasmModule = await WebAssembly.compile(readFileSync(join(packageFolder, 'dist', 'pglite.wasm')))
const patience = Number(rest[1])

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`)

const fail = (reason) => {
  process.stderr.write(`${reason}\n`)
  process.exit(70)
}

// The engine's thread and the only way to it: an order goes in, `heard` is called with each answer.
class Backend {
  static async start(dataDirectory) {
    const backend = new Backend()
    const { port1, port2 } = new MessageChannel()
    backend.bell = new Int32Array(new SharedArrayBuffer(4))
    backend.port = port1
    backend.worker = new Worker(new URL('./community_backend.mjs', import.meta.url), {
      workerData: { port: port2, bell: backend.bell, packageFolder, wasmModule, dataDirectory },
      transferList: [port2],
    })
    backend.worker.on('error', (reason) => fail(reason.stack ?? reason))
    backend.about = await new Promise((resolve) => port1.once('message', ({ ready }) => resolve(ready)))
    port1.on('message', (answer) => (answer.crashed ? fail(answer.crashed) : backend.heard(answer)))
    return backend
  }

  toldBy = () => {}
  #answered = []

  // Bytes and their end go to the client that is served; anything else is the answer to the oldest question.
  heard(told) {
    if (told.answer !== undefined) this.#answered.shift()(told.answer)
    else this.toldBy(told)
  }

  tell(order) {
    this.port.postMessage(order)
    Atomics.add(this.bell, 0, 1)
    Atomics.notify(this.bell, 0)
  }

  ask(order) {
    return new Promise((resolve) => {
      this.#answered.push(resolve)
      this.tell(order)
    })
  }

  async stop() {
    this.port.close()
    await this.worker.terminate()
  }
}

const base = making ? undefined : new Uint8Array(readFileSync(rest[0]))
let last = base // the snapshot to return to
let backend = await Backend.start(base)

if (making) {
  writeFileSync(rest[1], await backend.ask({ snapshot: true }))
  process.exit(0)
}

const clients = new Set() // all that are connected
const queue = [] // clients that want the session
let served // the one whose session it is
let busy = false // somebody is just coming or going
let closed = false // an order has the session, or is about to

class Client {
  #batches = new Batches()
  #startup = Buffer.alloc(0)
  #introduced = false
  #unsent = [] // what it has said while it was not served
  #sent = 0
  #answered = 0
  #last = '' // how what it has sent last begins
  loggedIn = false
  gone = false
  idle = true // between two transactions

  constructor(socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (bytes) => (this.#introduced ? this.#talk(bytes) : this.#introduce(bytes)))
    socket.on('error', () => {})
    socket.on('close', () => this.#leave())
  }

  #introduce(bytes) {
    this.#startup = Buffer.concat([this.#startup, bytes])
    while (!this.#introduced && this.#startup.length >= 8) {
      const length = this.#startup.readInt32BE(0)
      if (length < 8 || length > 10000) return this.socket.destroy()
      if (this.#startup.length < length) return undefined
      const code = this.#startup.readInt32BE(4)
      const body = this.#startup.subarray(8, length)
      this.#startup = this.#startup.subarray(length)
      if (code === SSL_REQUEST || code === GSS_REQUEST) this.socket.write('N')
      else if (code === CANCEL_REQUEST) return this.socket.destroy()
      else if (code >> 16 !== PROTOCOL_3) {
        return this.socket.end(error('0A000', `unsupported frontend protocol ${code >> 16}.${code & 0xffff}`))
      } else this.#begin(code & 0xffff, body)
    }
    return undefined
  }

  #begin(minor, body) {
    this.#introduced = true
    if (minor > 0) this.socket.write(message('v', Buffer.alloc(8))) // version 3.0 it is, with no options left out
    this.startup = readStartup(body)
    if (this.#startup.length > 0) this.#talk(this.#startup) // spoke before it was let in: kept until it is
    this.#wait()
  }

  #wait() {
    if (queue.includes(this)) return
    this.patience = setTimeout(() => {
      queue.splice(queue.indexOf(this), 1)
      const reason = `the only session is taken by role "${served?.startup.user}" for more than ${patience} s`
      const state = served ? `: ${served.state}` : ''
      this.socket.end(error('53300', `${reason}: this engine has one, and its transaction has not ended${state}`))
    }, patience * 1000)
    queue.push(this)
    setImmediate(serveNext)
  }

  // Its turn: the session is made its own, and what it has said meanwhile is passed on.
  async enter() {
    clearTimeout(this.patience)
    const order = this.loggedIn ? { resume: this.startup, kept: this.kept } : { login: this.startup }
    const { welcome, refused } = await backend.ask(order)
    if (refused) {
      await backend.ask({ leave: true })
      return this.socket.end(Buffer.from(refused))
    }
    served = this
    backend.toldBy = (told) => this.#answer(told)
    this.loggedIn = true
    if (welcome) this.socket.write(Buffer.from(welcome))
    for (const bytes of this.#unsent.splice(0)) this.#send(bytes)
    return undefined
  }

  #talk(bytes) {
    const { ready, goodbye } = this.#batches.take(bytes)
    if (ready.length > 0 && served === this) this.#send(ready)
    else if (ready.length > 0) {
      this.#unsent.push(ready)
      if (this.loggedIn) this.#wait()
    }
    if (goodbye) this.socket.end()
  }

  // For whoever waits in vain: is it the client that says no more, or the engine that does not answer?
  get state() {
    return `${this.#answered} of its ${this.#sent} messages are answered, the last one is ${this.#last}`
  }

  #send(bytes) {
    this.#last = bytes.toString('latin1', 0, 60).replace(/[^ -~]+/g, ' ')
    this.idle = false
    this.#sent += 1
    backend.tell({ bytes, number: this.#sent })
  }

  #answer({ bytes, done, idle }) {
    if (bytes) this.socket.write(bytes)
    if (done) this.#answered = done
    if (done !== this.#sent) return
    this.idle = idle
    if (idle) serveNext()
  }

  #leave() {
    clearTimeout(this.patience)
    this.gone = true
    clients.delete(this)
    const waiting = queue.indexOf(this)
    if (waiting >= 0) queue.splice(waiting, 1)
    if (served === this) serveNext()
  }
}

// Takes the session from whoever has it and does not need it just now. False where it is needed.
const vacate = async () => {
  const previous = served
  if (!previous) return true
  if (!previous.gone && !previous.idle) return false
  served = undefined
  backend.toldBy = () => {}
  if (previous.gone) await backend.ask({ leave: true })
  else previous.kept = await backend.ask({ suspend: true })
  return true
}

let whenFree = [] // orders that wait for somebody to come, to go, or to end a transaction

const serveNext = async () => {
  if (busy) return
  busy = true
  const mine = backend
  while (!closed && (queue.length > 0 || served?.gone) && (await vacate())) await queue.shift()?.enter()
  if (mine !== backend) return // a reset has taken everything away meanwhile
  busy = false
  for (const go of whenFree.splice(0)) go()
}

// Gives an order the session: nobody has it until it is done.
const alone = async (perform) => {
  closed = true
  while (busy || !(await vacate())) await new Promise((resolve) => whenFree.push(resolve))
  const answer = await perform()
  closed = false
  serveNext()
  return answer
}

const orders = {
  // Keeps the database as it is now: what `reset` returns to.
  snapshot: () =>
    alone(async () => {
      last = await backend.ask({ snapshot: true })
      return { bytes: last.length }
    }),
  // A new engine on the snapshot. Whoever is connected is cut off: it gives back all memory, and cannot hang.
  reset: async ({ toBase }) => {
    closed = true
    served = undefined
    queue.length = 0
    for (const client of clients) client.socket.destroy()
    for (const go of whenFree.splice(0)) go()
    await backend.stop()
    backend = await Backend.start(toBase ? base : last)
    busy = false
    closed = false
    serveNext()
    return {}
  },
  memory: () => ({ rss: process.memoryUsage().rss, served: served?.startup.user ?? null, waiting: queue.length }),
}

const server = createServer((socket) => clients.add(new Client(socket)))
server.listen(0, '127.0.0.1', () => say({ port: server.address().port, ...backend.about }))

const lines = createInterface({ input: process.stdin })
lines.on('close', () => process.exit(0))
let previous = Promise.resolve()
lines.on('line', (line) => {
  const order = JSON.parse(line)
  previous = previous.then(() => orders[order.do](order)).then(say, (reason) => fail(reason.stack))
})
