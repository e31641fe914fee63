import { GraphiQL } from 'graphiql';
import { createRoot } from 'react-dom/client';
import 'graphiql/style.css';
import './page.css';
import { fetcher } from './fetcher.js';
import abort from './tabs/abort.graphql';
import follow from './tabs/follow.graphql';
import runs from './tabs/runs.graphql';
import start from './tabs/start.graphql';
import trigger from './tabs/trigger.graphql';
import example from './tabs/trigger.json';

globalThis.MonacoEnvironment = {
  getWorker(_id, label) {
    const file = { json: JSON_WORKER, graphql: GRAPHQL_WORKER }[label] ?? EDITOR_WORKER;
    return new Worker(new URL(file, import.meta.url));
  },
};

const json = (value) => JSON.stringify(value, null, 2);
const tabs = [
  { query: start },
  { query: trigger, variables: json(example) },
  { query: follow, variables: json({ runId: '' }) },
  { query: runs },
  { query: abort, variables: json({ id: '' }) },
];

/** A query in the address, as in /graphql?query={…}, opens in a tab of its own. */
const address = new URLSearchParams(location.search);
const asked = address.has('query')
  ? { query: address.get('query'), variables: address.get('variables') ?? '' }
  : undefined;

createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={fetcher}
    defaultQuery={start}
    defaultTabs={asked ? [asked, ...tabs] : tabs}
    initialQuery={asked?.query}
    initialVariables={asked?.variables}
    defaultEditorToolsVisibility="variables"
    inputValueDeprecation
    schemaDescription
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>
      <h1 className="taskloom-logo">Taskloom</h1>
    </GraphiQL.Logo>
  </GraphiQL>,
);
