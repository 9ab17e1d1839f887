"""First names: the 99 of Wang et al. 2022, and more common ones for tokenizers that split some of those."""

from __future__ import annotations

_PUBLISHED = """
Michael Christopher Jessica Matthew Ashley Jennifer Joshua Amanda Daniel David James Robert John Joseph Andrew
Ryan Brandon Jason Justin Sarah William Jonathan Stephanie Brian Nicole Nicholas Anthony Heather Eric Elizabeth
Adam Megan Melissa Kevin Steven Thomas Timothy Christina Kyle Rachel Laura Lauren Amber Brittany Danielle Richard
Kimberly Jeffrey Amy Crystal Michelle Tiffany Jeremy Benjamin Mark Emily Aaron Charles Rebecca Jacob Stephen
Patrick Sean Erin Jamie Kelly Samantha Nathan Sara Dustin Paul Angela Tyler Scott Katherine Andrea Gregory Erica
Mary Travis Lisa Kenneth Bryan Lindsey Kristen Jose Alexander Jesse Katie Lindsay Shannon Vanessa Courtney
Christine Alicia Cody Allison Bradley Samuel
"""

_MORE = """
George Edward Peter Frank Henry Jack Anna Alice Martin Simon Tom Sam Ben Dan Bob Bill Jim Joe Mike Steve Dave
Tony Chris Alex Max Luke Matt Nick Tim Greg Jeff Ken Ron Don Ray Roy Fred Ted Ed Al Carl Karl Eva Ella Emma Kate
Jane Jean Joan Ann Anne Susan Linda Barbara Patricia Margaret Dorothy Helen Sandra Donna Carol Ruth Sharon Karen
Betty Nancy Virginia Martha Rose Grace Julia Julie Claire Clara Charlotte Caroline Victoria Diana Diane Maria
Marie Teresa Theresa Louise Lucy Lily Sophie Sophia Olivia Ava Mia Isabella Chloe Hannah Abigail Madison Natalie
Molly Maggie Kathleen Kathryn Catherine Cathy Kathy Judy Judith Janet Janice Joyce Gloria Evelyn Frances
Alan Albert Arthur Barry Bernard Bruce Calvin Cameron Chad Charlie Clark Clarence Craig Curtis Dale Darren Dean
Dennis Derek Donald Douglas Duncan Dylan Earl Edgar Edwin Elliot Elijah Eli Ernest Ethan Eugene Evan Felix
Francis Fernando Gabriel Gary Gavin Gene Gerald Gilbert Glenn Gordon Graham Grant Harold Harry Harvey Herbert
Howard Hugh Hugo Ian Isaac Ivan Jackson Jay Jerry Jimmy Joel Johnny Jonah Jordan Juan Julian Keith Kurt Larry
Lawrence Leo Leon Leonard Lewis Liam Logan Louis Lucas Luis Malcolm Marcus Mario Marshall Marvin Mason Maurice
Miles Mitchell Morris Neil Nelson Noah Norman Oliver Oscar Owen Pedro Philip Phillip Pierre Ralph Randy Raymond
Ricardo Rick Robin Rodney Roger Roland Roman Ronald Ross Russell Sebastian Seth Shane Shaun Sidney Spencer
Stanley Stuart Terry Theodore Todd Trevor Troy Victor Vincent Walter Warren Wayne Wesley Zachary
Alexandra Alison April Audrey Autumn Beth Bonnie Brenda Carmen Cheryl Cindy Claudia Daisy Debbie Deborah Debra
Eleanor Ellen Elena Erika Faith Fiona Florence Gina Haley Holly Irene Iris Jackie Jasmine Jenna Jenny Jill
Joanna Jodi Josephine Josh Karla Kara Kristin Kelsey Kristina Leah Leslie Lillian Lori Lynn Mandy Marilyn Marina
Melanie Meredith Miranda Miriam Monica Morgan Nina Nora Paige Pamela Paula Phoebe Rebekah Regina Rita
Roberta Rosa Sabrina Sally Sandy Shelby Sheila Sherry Sierra Stella Summer Suzanne Sylvia Tamara Tanya Tara Taylor
Tina Tracy Valerie Vera Veronica Violet Wanda Wendy Yvonne Zoe
"""

IOI_NAMES = tuple(_PUBLISHED.split())
"""In the order of the dataset published with the paper."""

MORE_NAMES = tuple(_MORE.split())
"""Common in English-speaking countries, roughly the commonest first; none of them among the 99."""
