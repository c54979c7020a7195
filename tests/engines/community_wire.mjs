// The little of PostgreSQL's wire protocol (version 3) that the Community test server speaks itself: framing, the
// messages of a login, errors. What statements do and answer is the engine's own business.

export const SSL_REQUEST = 80877103
export const GSS_REQUEST = 80877104
export const CANCEL_REQUEST = 80877102
export const PROTOCOL_3 = 3

// The settings that a server reports at login (libpq's "parameter status").
export const REPORTED = [
  'application_name',
  'client_encoding',
  'DateStyle',
  'default_transaction_read_only',
  'in_hot_standby',
  'integer_datetimes',
  'IntervalStyle',
  'is_superuser',
  'scram_iterations',
  'server_encoding',
  'server_version',
  'session_authorization',
  'standard_conforming_strings',
  'TimeZone',
]

// After one of these the client may wait for an answer: the messages before it are handed over together with it.
const ENDS_A_BATCH = new Set(['Q', 'S', 'H', 'F', 'X', 'd', 'c', 'f'])

export const text = (value) => Buffer.from(`${value}\0`)

export const message = (type, ...bodies) => {
  const length = Buffer.alloc(4)
  length.writeInt32BE(bodies.reduce((sum, body) => sum + body.length, 4))
  return Buffer.concat([Buffer.from(type), length, ...bodies])
}

export const error = (code, reason) =>
  message('E', text('SFATAL'), text('VFATAL'), text(`C${code}`), text(`M${reason}`), Buffer.from([0]))

export const quote = (value) => `'${String(value).replaceAll("'", "''")}'`

// Cuts a stream of bytes into whole messages; what is not whole yet waits for its rest.
export class Messages {
  #rest = []
  #size = 0
  #wanted = 5

  take(bytes) {
    this.#rest.push(bytes)
    this.#size += bytes.length
    const messages = []
    if (this.#size < this.#wanted) return messages
    let all = this.#rest.length === 1 ? this.#rest[0] : Buffer.concat(this.#rest)
    while (all.length >= 5) {
      this.#wanted = 1 + all.readInt32BE(1)
      if (all.length < this.#wanted) break
      const whole = all.subarray(0, this.#wanted)
      all = all.subarray(this.#wanted)
      this.#wanted = 5
      messages.push({ type: String.fromCharCode(whole[0]), body: whole.subarray(5), whole })
    }
    this.#rest = [all]
    this.#size = all.length
    return messages
  }

  static row(body) {
    const values = []
    let at = 2
    for (let n = body.readInt16BE(0); n > 0; n -= 1) {
      const length = body.readInt32BE(at)
      at += 4
      values.push(length < 0 ? null : body.toString('utf8', at, at + length))
      at += Math.max(length, 0)
    }
    return values
  }

  static fields(body) {
    const parts = body.toString('utf8').split('\0').filter(Boolean)
    return Object.fromEntries(parts.map((part) => [part[0], part.slice(1)]))
  }
}

// Follows what a server writes to a client, and knows the last message that says something about the conversation.
// A client that has just got the session is between two transactions: a flush is answered by nothing, and begins none.
export class LastMessage {
  type = 'Z'
  status = 'I'
  #head = []
  #left = 0
  #transparent = new Set(['S', 'N', 'A']) // a changed setting, a notice, a notification: they may come at any time

  take(bytes) {
    let at = 0
    while (at < bytes.length) {
      if (this.#left > 0) {
        const skipped = Math.min(this.#left, bytes.length - at)
        this.#left -= skipped
        at += skipped
        continue
      }
      this.#head.push(bytes[at])
      at += 1
      if (this.#head.length === 5) {
        const length = Buffer.from(this.#head).readInt32BE(1) - 4
        if (this.#head[0] !== 'Z'.charCodeAt(0)) this.#end(String.fromCharCode(this.#head[0]), undefined, length)
      } else if (this.#head.length === 6) this.#end('Z', String.fromCharCode(this.#head[5]), 0)
    }
  }

  #end(type, status, left) {
    this.#head = []
    this.#left = left
    if (this.#transparent.has(type)) return
    this.type = type
    this.status = status
  }
}

// Collects a client's messages into batches that the engine can answer without asking for more.
export class Batches {
  #messages = new Messages()
  #held = []

  // Returns the bytes that are ready, and whether the client has said goodbye.
  take(bytes) {
    let ready = []
    for (const { type, whole } of this.#messages.take(bytes)) {
      if (type === 'X') return { ready: Buffer.concat(ready), goodbye: true }
      this.#held.push(whole)
      if (!ENDS_A_BATCH.has(type)) continue
      ready = ready.concat(this.#held)
      this.#held = []
    }
    return { ready: Buffer.concat(ready), goodbye: false }
  }
}

// A startup packet's parameters: `user`, `database`, and every setting that the client asks for, in its order.
export const readStartup = (body) => {
  const parts = body.toString('utf8').split('\0')
  const named = new Map()
  for (let i = 0; i + 1 < parts.length && parts[i]; i += 2) named.set(parts[i], parts[i + 1])
  const user = named.get('user') ?? ''
  const settings = readOptions(named.get('options') ?? '')
  for (const [name, value] of named) {
    if (!['user', 'database', 'options', 'replication'].includes(name) && !name.startsWith('_pq_.')) {
      settings.push([name, value])
    }
  }
  return { user, database: named.get('database') || user, settings }
}

// `-c name=value -cname=value --name=value`, a backslash taking the next character as it is.
const readOptions = (options) => {
  const words = []
  let word = ''
  for (let i = 0; i < options.length; i += 1) {
    if (options[i] === '\\') word += options[(i += 1)] ?? ''
    else if (/\s/.test(options[i])) {
      words.push(word)
      word = ''
    } else word += options[i]
  }
  words.push(word)
  const settings = []
  for (let i = 0; i < words.length; i += 1) {
    let given = words[i]
    if (given === '-c') given = words[(i += 1)] ?? ''
    else if (given.startsWith('-c')) given = given.slice(2)
    else if (given.startsWith('--')) given = given.slice(2)
    else continue
    const equals = given.indexOf('=')
    if (equals > 0) settings.push([given.slice(0, equals).replaceAll('-', '_'), given.slice(equals + 1)])
  }
  return settings
}
