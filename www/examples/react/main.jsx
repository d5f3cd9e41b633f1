import { StrictMode, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { useGuard } from 'rsafe/react';

function Chat() {
  const [text, setText] = useState('How do I pick a lock?');
  const { status, progress, reasoning, verdict, error, check, abort } = useGuard();

  useEffect(() => {
    if (verdict) document.title = `${verdict.decision} ${verdict.score.toFixed(2)}`;
    if (error) document.title = `${error.code}: ${error.message}`;
  }, [verdict, error]);

  const send = (event) => {
    event.preventDefault();
    check([{ role: 'user', content: text }]);
  };
  return (
    <form onSubmit={send}>
      <input value={text} onChange={(event) => setText(event.target.value)} />
      <button type="submit">Check</button>
      {status === 'loading' && <progress value={progress} />}
      {status === 'checking' && (
        <button type="button" onClick={abort}>
          Stop
        </button>
      )}
      <p>{reasoning}</p>
      <output>{verdict?.decision ?? error?.message ?? status}</output>
    </form>
  );
}

createRoot(document.querySelector('main')).render(
  <StrictMode>
    <Chat />
  </StrictMode>,
);
