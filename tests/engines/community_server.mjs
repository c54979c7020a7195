// The Community test server: TimescaleDB Community in WebAssembly, served over PostgreSQL's wire protocol.
//
//   node community_server.mjs PACKAGE_FOLDER DATA_TAR PATIENCE     serve the database in the tar
//   node community_server.mjs PACKAGE_FOLDER --make DATA_TAR    initialise one, write its tar, end
//
// This thread holds the sockets and the queue; community_backend.mjs holds the engine. One client is served at a time,
// for the engine has one session: the others wait for it to leave, and are refused with 53300 after PATIENCE seconds.
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

  heard = () => {}

  order(what) {
    this.port.postMessage(what)
    Atomics.add(this.bell, 0, 1)
    Atomics.notify(this.bell, 0)
  }

  snapshot() {
    return new Promise((resolve) => {
      this.heard = ({ snapshot }) => resolve(snapshot)
      this.order({ snapshot: true })
    })
  }

  async stop() {
    this.port.close()
    await this.worker.terminate()
  }
}

let dataDirectory = making ? undefined : new Uint8Array(readFileSync(rest[0]))
let backend = await Backend.start(dataDirectory)

if (making) {
  writeFileSync(rest[1], await backend.snapshot())
  process.exit(0)
}

const clients = new Set() // all that are connected
const queue = [] // clients that have introduced themselves and wait for their turn
let served // the one whose session it is
let whenFree = [] // orders that wait until nobody is served
let closedForOrders = false

class Client {
  #batches = new Batches()
  #startup = Buffer.alloc(0)
  #introduced = false
  #loggedIn = false

  constructor(socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (bytes) => (this.#introduced ? this.#talk(bytes) : this.#introduce(bytes)))
    socket.on('error', () => {})
    socket.on('close', () => this.gone())
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
      } else this.#wait(code & 0xffff, body)
    }
    return undefined
  }

  #wait(minor, body) {
    this.#introduced = true
    if (minor > 0) this.socket.write(message('v', Buffer.alloc(8))) // version 3.0 it is, with no options left out
    this.startup = readStartup(body)
    this.patience = setTimeout(() => {
      const holder = served?.startup
      const reason = `the only session is taken by role "${holder?.user}" for more than ${patience} s`
      this.socket.end(error('53300', `${reason}: this engine serves one connection at a time`))
    }, patience * 1000)
    queue.push(this)
    serveNext()
  }

  serve() {
    clearTimeout(this.patience)
    backend.heard = (answer) => {
      if (answer.bytes) this.socket.write(answer.bytes)
      if (answer.left) free()
      if (!answer.loggedIn) return
      const reply = Buffer.from(answer.loggedIn)
      if (reply[0] === 'E'.charCodeAt(0)) {
        this.socket.end(reply)
        return
      }
      this.#loggedIn = true
      this.socket.write(reply)
      if (this.#startup.length > 0) this.#talk(Buffer.alloc(0))
    }
    backend.order({ login: this.startup })
  }

  #talk(bytes) {
    if (!this.#loggedIn) {
      this.#startup = Buffer.concat([this.#startup, bytes]) // spoke before it was let in: kept until it is
      return
    }
    const { ready, goodbye } = this.#batches.take(Buffer.concat([this.#startup, bytes]))
    this.#startup = Buffer.alloc(0)
    if (ready.length > 0) backend.order({ bytes: ready })
    if (goodbye) this.socket.end()
  }

  gone() {
    clearTimeout(this.patience)
    clients.delete(this)
    const waiting = queue.indexOf(this)
    if (waiting >= 0) queue.splice(waiting, 1)
    if (served === this) backend.order({ leave: true })
  }
}

const free = () => {
  served = undefined
  for (const go of whenFree.splice(0)) go()
  serveNext()
}

const serveNext = () => {
  if (served || closedForOrders || queue.length === 0) return
  served = queue.shift()
  served.serve()
}

// Waits for the present client to leave and keeps the next one out until `perform` is done.
const alone = async (perform) => {
  closedForOrders = true
  if (served) await new Promise((resolve) => whenFree.push(resolve))
  const answer = await perform()
  closedForOrders = false
  serveNext()
  return answer
}

const orders = {
  // Keeps the database as it is now: what `reset` returns to.
  snapshot: () =>
    alone(async () => {
      dataDirectory = await backend.snapshot()
      return { bytes: dataDirectory.length }
    }),
  // A new engine on the snapshot. Whoever is connected is cut off: it gives back all memory, and cannot hang.
  reset: async ({ tar }) => {
    closedForOrders = true
    served = undefined
    for (const client of clients) client.socket.destroy()
    whenFree.splice(0)
    await backend.stop()
    if (tar) dataDirectory = new Uint8Array(readFileSync(tar))
    backend = await Backend.start(dataDirectory)
    closedForOrders = false
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
