// SPDX-License-Identifier: BSD-2-Clause
// Asking the proxy. A token, where the proxy wants one, is kept for this tab alone.

const TOKEN = 'everwarm-token';
const TIMEOUT_MS = 5000;
const COMMAND_TIMEOUT_MS = 65000; // the proxy waits for its view: 60 s at most

export function setToken(token) {
    sessionStorage.setItem(TOKEN, token);
}

function headers() {
    const token = sessionStorage.getItem(TOKEN);
    return token === null ? {} : {Authorization: `Bearer ${token}`};
}

/** An answer that was no 2xx: the proxy's own words, as RFC 9457 has them. */
export class Problem extends Error {
    constructor(status, body) {
        super(body.title ?? `HTTP status ${status}`);
        this.status = status;
        this.type = body.type ?? '';
        this.detail = body.detail ?? '';
        this.fix = body.fix ?? '';
    }
}

async function ask(method, path, timeoutMs) {
    const reply = await fetch(path, {
        method, headers: headers(), cache: 'no-store', signal: AbortSignal.timeout(timeoutMs),
    });
    const body = await reply.json().catch(() => ({}));
    if (!reply.ok) {
        throw new Problem(reply.status, body);
    }
    return body;
}

export function getStats() {
    return ask('GET', '/stats', TIMEOUT_MS);
}

export function commandNode(name, command, isForced) {
    const force = isForced ? '?force=true' : '';
    return ask('POST', `/v1/nodes/${encodeURIComponent(name)}/${command}${force}`,
        COMMAND_TIMEOUT_MS);
}

/**
 * Read server-sent events after SINCE until the stream ends; TAKE gets each one's data. By fetch and
 * not by EventSource, which can send no token and tells no status.
 */
export async function readEvents(since, take, signal) {
    const reply = await fetch(`/v1/events?since=${since}`, {headers: headers(), signal});
    if (!reply.ok) {
        throw new Problem(reply.status, await reply.json().catch(() => ({})));
    }
    const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
        const {value, done} = await reader.read();
        if (done) {
            return;
        }
        const parts = (rest + value).split('\n\n');
        rest = parts.pop();
        for (const part of parts) {
            const data = part.split('\n').filter(line => line.startsWith('data:'))
                .map(line => line.slice(5).trim()).join('');
            if (data !== '') {
                take(JSON.parse(data));
            }
        }
    }
}
