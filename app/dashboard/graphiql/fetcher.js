// How GraphiQL reaches the server: queries and mutations by POST, subscriptions by graphql-transport-ws.
import { createClient } from 'graphql-ws';

const url = new URL(location.pathname, location.origin);
const socketUrl = Object.assign(new URL(url), { protocol: url.protocol === 'https:' ? 'wss:' : 'ws:' });

const SHOWN_EVENTS = 100;

function isSubscription(document, operationName) {
  const operations = document?.definitions.filter(({ kind }) => kind === 'OperationDefinition') ?? [];
  const chosen = operationName ? operations.find(({ name }) => name?.value === operationName) : operations[0];
  return chosen?.operation === 'subscription';
}

const failure = (message) => ({ errors: [{ message }] });
const AWAY = 'The server does not answer. Start it, or wait for it, and run this again.';

async function request(params, headers) {
  let response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/graphql-response+json, application/json;q=0.9',
        ...headers,
      },
      body: JSON.stringify(params),
    });
  } catch {
    return failure(AWAY);
  }
  if (response.headers.get('content-type')?.includes('json')) return response.json();
  return failure(`What answered is not Taskloom but something before it, as a proxy: HTTP ${response.status}.`);
}

/**
 * A stream of answers; the headers of the tab go along as the connection's parameters, as browsers send none.
 * GraphiQL shows only the last answer of a stream, so each one here comes with those before it, the newest first.
 */
async function* subscribe(params, headers) {
  const client = createClient({ url: socketUrl.href, connectionParams: headers ?? {}, retryAttempts: 3 });
  const shown = [];
  let received = 0;
  try {
    for await (const answer of client.iterate(params)) {
      received += 1;
      shown.unshift(answer);
      shown.length = Math.min(shown.length, SHOWN_EVENTS);
      yield { received, newestFirst: [...shown] };
    }
  } catch (error) {
    if (!(error instanceof Event)) throw error;
    // The connection has ended, and does not come back; what was received stays in sight.
    const told = error.reason ? `The server ended the connection: ${error.reason}` : AWAY;
    yield { ...failure(told), received, newestFirst: [...shown] };
  } finally {
    await client.dispose();
  }
}

export function fetcher(params, { documentAST, headers } = {}) {
  return isSubscription(documentAST, params.operationName) ? subscribe(params, headers) : request(params, headers);
}
