// The backend of the Community test server: PostgreSQL with TimescaleDB in WebAssembly, in a worker thread of its own.
//
// It does what a backend process of a real server does: it reads the wire protocol from its client and blocks while
// it waits, which is why it has a thread to itself. The engine's read and write callbacks are replaced by ours, so the
// engine itself answers COPY, pipelines and errors; nothing here parses SQL or guesses what a statement will want.
//
// There is one session for all clients. `login` makes it the client's own (role, role settings, startup settings, all
// as the values that RESET and DISCARD ALL return to), `leave` makes it nobody's again. Between its transactions a
// client can be made to leave and to come back, as a transaction-mode pooler does: what it has SET is kept as far as
// TRACKED goes; temporary tables, prepared statements and session locks are not.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { receiveMessageOnPort, workerData } from 'node:worker_threads'

import { LastMessage, Messages, REPORTED, error, message, quote, text } from './community_wire.mjs'

const { port, bell, packageFolder, wasmModule, dataDirectory } = workerData
const OWNER = 'postgres'

// PostgreSQL's GucContext and GucSource (utils/guc.h).
const PGC_SUSET = 5
const PGC_S_CLIENT = 9
const PGC_S_OVERRIDE = 10

// The engine is started with switches of its own that a server does not have: objects made without a schema would land
// in pg_catalog, and plans would avoid sequential scans.
const SETTINGS = {
  search_path: '"$user", public',
  enable_seqscan: 'on',
  allow_system_table_mods: 'off',
  log_min_messages: 'warning',
  synchronous_commit: 'off',
}

// The session's settings that a client finds again when it comes back.
const TRACKED = [
  ...REPORTED.filter((name) => !['in_hot_standby', 'integer_datetimes', 'is_superuser', 'scram_iterations',
    'server_encoding', 'server_version', 'session_authorization'].includes(name)),
  'app.tenant_id',
  'lock_timeout',
  'search_path',
  'statement_timeout',
]

const at = (...path) => join(packageFolder, 'dist', ...path)
const { PGlite } = await import(pathToFileURL(at('index.js')))
const { timescaledb } = await import(pathToFileURL(at('timescaledb', 'index.js')))

const database = await PGlite.create({
  wasmModule,
  fsBundle: new Blob([readFileSync(at('pglite.data'))]),
  extensions: { timescaledb },
  username: OWNER,
  ...(dataDirectory && { loadDataDir: new Blob([dataDirectory]), database: 'postgres' }),
})
const engine = database.Module

let input = new Uint8Array(0) // what the engine has not read yet
let output = [] // what it has written and nobody has taken yet
let leaving = false // the client went away in the middle of its COPY … FROM STDIN
let written = new LastMessage() // what it has written last, to the present client
let heard = 0 // the number of the last order with the client's bytes
let reported = new Map() // settings as the present client knows them
const orders = [] // what this thread was told and has not done yet

// Takes what it has written, for the client.
const taken = () => {
  const bytes = Buffer.concat(output)
  output = []
  return bytes.length > 0 ? { bytes } : {}
}

// Waits for the client's next messages without returning to the event loop, since the engine cannot be suspended.
// It asks for more only inside COPY … FROM STDIN, because it is given whole messages.
const waitForInput = () => {
  if (output.length > 0) port.postMessage(taken())
  while (!leaving) {
    const seen = Atomics.load(bell, 0)
    const order = orders.shift() ?? receiveMessageOnPort(port)?.message
    if (order?.bytes) {
      heard = order.number
      return order.bytes
    }
    if (order?.leave) leaving = true
    else Atomics.wait(bell, 0, seen)
  }
  return message('f', text('the client went away'))
}

const read = engine.addFunction((address, room) => {
  if (input.length === 0) {
    input = waitForInput()
  }
  const part = input.subarray(0, room)
  engine.HEAPU8.set(part, address)
  input = input.subarray(part.length)
  return part.length
}, 'iii')

const write = engine.addFunction((address, length) => {
  const bytes = engine.HEAPU8.slice(address, address + length)
  output.push(bytes)
  written.take(bytes)
  return length
}, 'iii')

engine._set_read_write_cbs(read, write)

const perform = (bytes) => {
  input = bytes
  while (input.length > 0) engine._interactive_one(input.length, input[0])
}

// Runs SQL of our own and returns its rows as texts; `failure` is the error's fields where there was one.
const ask = (sql) => {
  perform(message('Q', text(sql)))
  const bytes = Buffer.concat(output)
  output = []
  const answer = { rows: [], failure: undefined }
  for (const { type, body } of new Messages().take(bytes)) {
    if (type === 'D') answer.rows.push(Messages.row(body))
    if (type === 'E') answer.failure = Messages.fields(body)
  }
  return answer
}

const must = (sql) => {
  const { rows, failure } = ask(sql)
  if (failure) throw new Error(`${failure.M} (${failure.C}), in: ${sql}`)
  return rows
}

// Sets what RESET and DISCARD ALL return to, which SQL cannot say. The values have been tried by SQL before.
const setDefault = (name, value, source) => {
  engine._StartTransactionCommand()
  const [n, v] = [engine.stringToNewUTF8(name), engine.stringToNewUTF8(value)]
  engine._SetConfigOption(n, v, PGC_SUSET, source)
  engine._free(n)
  engine._free(v)
  engine._CommitTransactionCommand()
}

const named = new Map() // names of settings, as the engine's strings

// The value of a setting, without SQL, which would be part of the client's transaction.
const setting = (name) => {
  if (!named.has(name)) named.set(name, engine.stringToNewUTF8(name))
  const address = engine._GetConfigOption(named.get(name), 1, 0)
  return address ? engine.UTF8ToString(address) : undefined
}

// Tells the client which settings have changed, which the engine does not do by itself.
const report = () => {
  for (const name of REPORTED) {
    const value = setting(name)
    if (value === undefined || value === reported.get(name)) continue
    reported.set(name, value)
    output.push(message('S', text(name), text(value)))
  }
}

const CURRENT_DATABASE = must('SELECT current_database()')[0][0]
let defaults = new Map() // settings that the present client came with, and what they were before
const originals = new Map() // what settings are without a client, once somebody has asked: listing all takes long

const applySetting = (name, value) => {
  if (!originals.has(name)) {
    const [row] = must(`SELECT reset_val FROM pg_settings WHERE lower(name) = lower(${quote(name)})`)
    originals.set(name, row?.[0] ?? '')
  }
  defaults.set(name, originals.get(name))
  setDefault(name, value, PGC_S_CLIENT)
}

// The error of settings that a role may not have, or that have no such value.
const fails = (role, ...settings) => {
  if (settings.length === 0) return undefined
  const become = role ? `SET LOCAL SESSION AUTHORIZATION ${quote(role)};` : ''
  const calls = settings.map(([name, value]) => `set_config(${quote(name)}, ${quote(value)}, true)`)
  const { failure } = ask(`BEGIN; ${become} SELECT ${calls.join()}`)
  must('ROLLBACK')
  return failure
}

// Makes the session the client's own; returns the error where it is refused.
const enter = ({ user, database: wanted, settings }) => {
  const [role] = must(`SELECT oid, rolcanlogin FROM pg_roles WHERE rolname = ${quote(user)}`)
  if (!role) return error('28000', `role "${user}" does not exist`)
  if (role[1] !== 't') return error('28000', `role "${user}" is not permitted to log in`)
  if (wanted !== CURRENT_DATABASE) return error('3D000', `database "${wanted}" does not exist`)

  const stored = must(`SELECT s FROM pg_db_role_setting, unnest(setconfig) s
    WHERE setrole IN (0, ${role[0]}) AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    ORDER BY setrole <> 0, setdatabase <> 0`)
  for (const [entry] of stored) {
    const [name, value] = [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]
    if (!fails(undefined, [name, value])) applySetting(name, value)
  }
  const failure = fails(user, ...settings)
  if (failure) return error(failure.C, failure.M)
  for (const [name, value] of settings) applySetting(name, value)
  if (user !== OWNER) setDefault('session_authorization', user, PGC_S_OVERRIDE)
  return undefined
}

const login = (startup) => {
  const refused = enter(startup)
  if (refused) return { refused }
  reported = new Map(REPORTED.map((name) => [name, setting(name) ?? '']))
  const welcome = Buffer.concat([
    message('R', Buffer.from([0, 0, 0, 0])),
    ...[...reported].map(([name, value]) => message('S', text(name), text(value))),
    message('K', Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])),
    message('Z', Buffer.from('I')),
  ])
  return { welcome }
}

const values = () => new Map(TRACKED.map((name) => [name, setting(name)]))

// Between two transactions of the client: what it needs to find again.
const suspend = () => {
  const kept = { values: values(), reported, role: setting('role') }
  leave()
  return kept
}

const resume = (startup, kept) => {
  const refused = enter(startup)
  if (refused) return { refused }
  for (const [name, value] of kept.values) {
    if (value !== undefined && value !== setting(name)) must(`SELECT set_config(${quote(name)}, ${quote(value)}, false)`)
  }
  if (kept.role !== 'none') must(`SELECT set_config('role', ${quote(kept.role)}, false)`)
  reported = kept.reported
  return {}
}

const leave = () => {
  leaving = false
  perform(message('S')) // ends what an extended-protocol error left to be skipped
  output = []
  must('ROLLBACK')
  written = new LastMessage()
  setDefault('session_authorization', OWNER, PGC_S_OVERRIDE)
  for (const [name, value] of defaults) setDefault(name, value, PGC_S_CLIENT)
  defaults = new Map()
  must('DISCARD ALL')
}

// A backend that did not create the extension itself has to load its library before it plans anything, and then let it
// load the part under the Community licence; a real server does both by shared_preload_libraries. Without it hypertables
// are planned as plain tables: compressed rows are silently not found.
const loadTimescale = () => {
  const [row] = must("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
  if (!row) return
  const library = quote(`$libdir/timescaledb-${row[0]}`)
  must(`LOAD ${library}`)
  must(`BEGIN; CREATE FUNCTION pg_temp.load() RETURNS void LANGUAGE c AS ${library}, 'ts_post_load_init'`)
  must('SELECT pg_temp.load(); ROLLBACK')
}

const handle = async (order) => {
  if (order.bytes) {
    heard = order.number
    perform(order.bytes)
    if (leaving) {
      leave()
      return port.postMessage({ answer: {} })
    }
    report()
    // Between transactions, and nothing begun: the last that it wrote is that it is ready.
    const idle = written.type === 'Z' && written.status === 'I'
    port.postMessage({ ...taken(), done: heard, idle })
  } else if (order.login) {
    const answer = login(order.login)
    written = new LastMessage()
    port.postMessage({ answer })
  } else if (order.resume) {
    const answer = resume(order.resume, order.kept)
    written = new LastMessage()
    port.postMessage({ answer })
  } else if (order.suspend) {
    port.postMessage({ answer: suspend() })
  } else if (order.leave) {
    leave()
    port.postMessage({ answer: {} })
  } else if (order.snapshot) {
    must('CHECKPOINT')
    const tar = await database.dumpDataDir('none')
    port.postMessage({ answer: new Uint8Array(await tar.arrayBuffer()) })
  }
  return undefined
}

for (const [name, value] of Object.entries(SETTINGS)) setDefault(name, value, PGC_S_CLIENT)
must('DISCARD ALL')
loadTimescale()
let busy = false
port.on('message', async (received) => {
  orders.push(received)
  if (busy) return
  busy = true
  try {
    while (orders.length > 0) await handle(orders.shift())
  } catch (reason) {
    port.postMessage({ crashed: String(reason?.stack ?? reason) })
  }
  busy = false
})
port.postMessage({ ready: { version: must('SHOW server_version')[0][0], database: CURRENT_DATABASE } })
