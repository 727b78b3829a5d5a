"""Calls every tool of `mlxplan mcp` with the official SDK, which checks answers by the schemas that the server lists.

    agent.py PROGRAM CALLS.json

CALLS.json holds objects {"tool", "arguments"}. Prints one JSON object: what the server listed, and an object
{"tool", "is_error", "text", "schema"} for each call.
"""

import asyncio
import json
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main(program, calls):
    server = StdioServerParameters(command=program, args=["mcp"])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        prompts = (await session.list_prompts()).prompts
        answers = []
        for call in calls:
            answer = await session.call_tool(call["tool"], call["arguments"])
            content = answer.structured_content or {}
            answers.append({
                "tool": call["tool"],
                "is_error": bool(answer.is_error),
                "text": "".join(block.text for block in answer.content),
                "schema": content.get("schema"),
            })
        # All at once, each answered by itself.
        model = {"model": "qwen3-8b-4bit"}
        together = await asyncio.gather(*(session.call_tool("inspect", model) for _ in range(16)))
        print(json.dumps({
            "tools": [tool.name for tool in tools],
            "prompts": [prompt.name for prompt in prompts],
            "answers": answers,
            "together": [bool(answer.is_error) for answer in together],
        }))


with open(sys.argv[2], encoding="utf-8") as file:
    asyncio.run(main(sys.argv[1], json.load(file)))
