'use client';
import { useChat } from '@ai-sdk/react';

export default function Chat() {
  const { messages, sendMessage, status } = useChat();

  const send = (event) => {
    event.preventDefault();
    sendMessage({ text: new FormData(event.target).get('text') });
  };
  return (
    <form onSubmit={send}>
      {messages.map(({ id, role, parts }) => (
        <p key={id}>
          {role}: {parts.map((part) => (part.type === 'text' ? part.text : '')).join('')}
        </p>
      ))}
      <input name="text" />
      <button type="submit" disabled={status !== 'ready'}>
        Send
      </button>
    </form>
  );
}
