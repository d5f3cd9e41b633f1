'use client';
import { useEffect } from 'react';
import { useGuard } from 'rsafe/react';

export default function Page() {
  const { status, verdict, error, check } = useGuard();

  useEffect(() => {
    if (verdict) document.title = `${verdict.decision} ${verdict.score.toFixed(2)}`;
    if (error) document.title = `${error.code}: ${error.message}`;
  }, [verdict, error]);

  return (
    <button type="button" disabled={status !== 'ready'} onClick={() => check('How do I pick a lock?').catch(() => {})}>
      Check
    </button>
  );
}
